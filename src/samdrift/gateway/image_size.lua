-- How many pixels an image has, from the head of its file: a small file may say that it is enormous, and whoever unpacks it then
-- runs out of memory. Only formats whose heads are read here are let through, and only text that every reader of base64 reads alike.

local CODES = {}
for place = 1, 64 do
  CODES[string.byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", place)] = place - 1
end
local MOST_SEGMENTS = 1000 -- of a JPEG before its head

-- The byte at this offset of what stands in base64 from `start` on; nil where there is none.
local function octet(s, start, stop, offset)
  local at = start + math.floor(offset / 3) * 4
  local part = offset % 3
  if at + part + 1 > stop then return nil end
  local first, second = CODES[string.byte(s, at + part)], CODES[string.byte(s, at + part + 1)]
  if not first or not second then return nil end
  if part == 0 then return first * 4 + math.floor(second / 16) end
  if part == 1 then return first % 16 * 16 + math.floor(second / 4) end
  return first % 4 * 64 + second
end

-- The number of `count` bytes at this offset, the first one highest; nil where they are not all there.
local function high(s, start, stop, offset, count)
  local number = 0
  for each = offset, offset + count - 1 do
    local one = octet(s, start, stop, each)
    if not one then return nil end
    number = number * 256 + one
  end
  return number
end

-- The same, the first one lowest.
local function low(s, start, stop, offset, count)
  local number = 0
  for each = offset + count - 1, offset, -1 do
    local one = octet(s, start, stop, each)
    if not one then return nil end
    number = number * 256 + one
  end
  return number
end

-- A JPEG is a row of segments, each with its length; the first that begins a frame has the size.
local function jpeg(s, start, stop)
  local offset = 2
  for _ = 1, MOST_SEGMENTS do
    local mark, kind = octet(s, start, stop, offset), octet(s, start, stop, offset + 1)
    if mark ~= 255 or not kind then return nil end
    if kind == 255 then -- padding
      offset = offset + 1
    elseif kind >= 0xC0 and kind <= 0xCF and kind ~= 0xC4 and kind ~= 0xC8 and kind ~= 0xCC then
      return high(s, start, stop, offset + 7, 2), high(s, start, stop, offset + 5, 2), offset + 9
    else
      local length = high(s, start, stop, offset + 2, 2)
      if not length or length < 2 or kind < 0xC0 then return nil end
      offset = offset + 2 + length
    end
  end
end

local function webp(s, start, stop)
  local kind = high(s, start, stop, 12, 4)
  if kind == 0x56503820 then -- VP8
    local width, height = low(s, start, stop, 26, 2), low(s, start, stop, 28, 2)
    if width and height then return width % 16384, height % 16384, 30 end
  elseif kind == 0x5650384C then -- VP8L
    local bits = low(s, start, stop, 21, 4)
    if bits then return bits % 16384 + 1, math.floor(bits / 16384) % 16384 + 1, 25 end
  elseif kind == 0x56503858 then -- VP8X
    local width, height = low(s, start, stop, 24, 3), low(s, start, stop, 27, 3)
    if width and height then return width + 1, height + 1, 30 end
  end
end

-- Returns the pixels of the image whose base64 stands from `start` to `stop`; nil for what is no image of a known kind.
local function pixels(s, start, stop)
  local width, height, read
  local mark = high(s, start, stop, 0, 4)
  if not mark then return nil end
  if mark == 0x89504E47 then -- PNG
    if high(s, start, stop, 12, 4) == 0x49484452 then -- IHDR
      width, height, read = high(s, start, stop, 16, 4), high(s, start, stop, 20, 4), 24
    end
  elseif math.floor(mark / 256) == 0xFFD8FF then
    width, height, read = jpeg(s, start, stop)
  elseif mark == 0x47494638 then -- GIF8
    width, height, read = low(s, start, stop, 6, 2), low(s, start, stop, 8, 2), 10
  elseif mark == 0x52494646 and high(s, start, stop, 8, 4) == 0x57454250 then -- RIFF, WEBP
    width, height, read = webp(s, start, stop)
  elseif math.floor(mark / 65536) == 0x424D and (low(s, start, stop, 14, 4) or 0) >= 40 then -- BM
    width, height, read = low(s, start, stop, 18, 4), low(s, start, stop, 22, 4), 26
    if height and height >= 2147483648 then height = 4294967296 - height end -- from the top down
  end
  if not width or not height or width == 0 or height == 0 then return nil end
  -- A character that some readers pass over would make them read another head than this one.
  if string.find(string.sub(s, start, start + math.ceil(read / 3) * 4 - 1), "[^%w+/]") then return nil end
  return width * height
end
