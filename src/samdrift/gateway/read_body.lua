-- Reads what the desk must know about a body, and puts it into two headers. Decides nothing: whatever is
-- wrong with the body becomes a `fault` that the desk turns into a refusal, after it knows who asks.
--
-- It runs before Envoy's own JSON parser, and bounds what that parser is given: depth and the number of parts (the parser
-- would spend seconds on ten megabytes of brackets). The parser then says whether the text is JSON at all. What is read here is
-- read the same by every parser: each top-level name stands once and without escapes, so that the text behind
-- it is the value.

local MAX_DEPTH = @MAX_DEPTH@
local MAX_MARKS = 200000 -- structural characters: bounds the time a hostile body can cost (about 20 ms)
local MAX_PIXELS = @MAX_PIXELS@
local UNBOUNDED = { too_deep = true, too_complex = true }
local RESERVED = { @RESERVED@ }

local find, byte, sub = string.find, string.byte, string.sub
local QUOTE, BACKSLASH, OPEN, CLOSE, LIST, LISTEND, COLON = 34, 92, 123, 125, 91, 93, 58

@PIXELS@
-- Fields that hold texts, by path. Engines take objects in some of them, with images or addresses inside: nobody would see those
-- here.
local TEXTUAL = {
  ["/v1/completions"] = { prompt = true },
  ["/v1/embeddings"] = { input = true, content = true },
  ["/v1/rerank"] = { documents = true, query = true },
}
-- What a part of a message may hold. Whatever is not named here might make an engine call out, or name what another organisation
-- left in it (vLLM's `uuid` of an image).
local PART = { type = true, text = true, refusal = true, thinking = true, image_url = true, cache_control = true }
local TYPES = { text = true, input_text = true, output_text = true, refusal = true, thinking = true, image_url = true }

-- A word of a client's that may be shown to it.
local function shown(word) return #word <= 40 and string.match(word, "^[%w_.-]+$") or "?" end

-- What is read of `messages`: that every image is in the body itself, how many there are, and how many bytes. Names are read
-- as far down as an image's address: a message is at depth 3, its parts at 5, the object around an address at 6.
local Messages = {}
Messages.__index = Messages

function Messages.opened(self, kind, depth)
  if depth == 2 then
    if kind ~= LIST then return "invalid_field", "messages" end
  elseif depth == 3 then
    if kind ~= OPEN then return "invalid_field", "messages" end
    self.name = nil
  elseif self.name ~= "content" then
    return
  elseif depth == 4 then
    if kind ~= LIST then return "invalid_field", "messages" end
  elseif depth == 5 then
    if kind ~= OPEN then return "invalid_field", "messages" end
    self.part = nil
  elseif depth == 6 and self.part == "image_url" and kind == OPEN then
    self.of_image = nil
  elseif self.part ~= "cache_control" then
    return "invalid_field", "messages"
  end
end

function Messages.named(self, name, escaped, depth)
  if depth == 3 then
    if escaped then return "escaped_field", "" end
    self.name = name
  elseif self.name ~= "content" then
    return
  elseif depth == 5 then
    if escaped then return "escaped_field", "" end
    if not PART[name] then return "unsupported_part", shown(name) end
    self.part = name
  elseif depth == 6 and self.part == "image_url" then
    if escaped then return "escaped_field", "" end
    if name ~= "url" and name ~= "detail" then return "invalid_field", "image_url" end
    self.of_image = name
  end
end

function Messages.said(self, s, from, to, depth, escaped)
  if self.name ~= "content" then return end
  if depth == 5 and self.part == "type" then
    local word = sub(s, from, to)
    if not TYPES[word] then return "unsupported_part", shown(word) end
  elseif self.part == "image_url" and (depth == 5 or depth == 6 and self.of_image == "url") then
    self.images, self.bytes = self.images + 1, self.bytes + to - from + 1
    if find(s, "^%a[%w+.-]*:", from) and not find(s, "^data:", from) then return "remote_image", "" end
    if escaped then -- some write all slashes so
      s = string.gsub(sub(s, from, to), "\\/", "/")
      from, to = 1, #s
    end
    local _, comma = find(s, "^data:image/[%w.+-]+;base64,", from)
    local size = comma and pixels(s, comma + 1, to)
    if not size then return "invalid_field", "image_url" end
    self.pixels = self.pixels + size
    if self.pixels > MAX_PIXELS then return "image_too_large", "" end
  end
end

-- Returns fault, detail, names, images, text: the top-level names, each with the place of its value; how many images there are; how
-- many bytes of text the engine reads. To rerank, it reads the query with each document again.
local function scan(s, path)
  local names, textual = {}, TEXTUAL[path] or {}
  local messages = setmetatable({ images = 0, bytes = 0, pixels = 0 }, Messages)
  local documents, query = 0, 0
  local i = find(s, "[^ \t\r\n]")
  if not i or byte(s, i) ~= OPEN then return "invalid_body", "", names end
  i = i + 1
  local depth, marks, prompts, current = 1, 0, 0, nil
  while depth > 0 do
    local p = find(s, '["{}%[%]]', i)
    if not p then return "invalid_body", "", names end
    marks = marks + 1
    if marks > MAX_MARKS then return "too_complex", "", names end
    local c = byte(s, p)
    if depth == 2 and current == "prompt" and (c == QUOTE or c == LIST) then prompts = prompts + 1 end
    if c == QUOTE then
      local from, escaped = p + 1, false
      local q = from
      while true do
        q = find(s, '["\\]', q)
        if not q then return "invalid_body", "", names end
        if byte(s, q) == QUOTE then break end
        escaped = true
        marks = marks + 1
        q = q + 2
      end
      i = q + 1
      if depth == 1 then
        local after = find(s, "[^ \t\r\n]", i)
        if after and byte(s, after) == COLON then
          if escaped then return "escaped_field", "", names end
          local name = sub(s, from, q - 1)
          if names[name] then return "duplicate_field", "", names end
          if RESERVED[name] then return "reserved_field", name, names end
          names[name] = find(s, "[^ \t\r\n]", after + 1) or after
          current = name
        elseif current == "query" then
          query = q - from
        end
      elseif current == "messages" and depth <= 6 then
        local after = find(s, "[^ \t\r\n]", i)
        local fault, detail
        if after and byte(s, after) == COLON then
          fault, detail = messages:named(sub(s, from, q - 1), escaped, depth)
        else
          fault, detail = messages:said(s, from, q - 1, depth, escaped)
        end
        if fault then return fault, detail, names end
      elseif current == "documents" then
        documents = documents + 1
      end
    else
      if c == OPEN or c == LIST then
        depth = depth + 1
        if depth > MAX_DEPTH then return "too_deep", "", names end
        if current == "messages" then
          local fault, detail = messages:opened(c, depth)
          if fault then return fault, detail, names end
        elseif c == OPEN and textual[current] then
          return "invalid_field", current, names
        end
      else
        depth = depth - 1
      end
      i = p + 1
    end
  end
  -- Some parsers, Envoy's among them, stop at a zero byte and never see what follows.
  if find(s, "[^ \t\r\n]", i) then return "invalid_body", "", names end
  if prompts > 1 then return "invalid_field", "prompt", names end
  return nil, "", names, messages.images, #s - messages.bytes + math.max(0, documents - 1) * query
end

-- A whole number from 1 to 999999999 as text, nil for null; false for anything else.
local function whole(s, at)
  local digits, stop = string.match(s, "^(%d+)[ \t\r\n]*([,}])", at)
  if digits and stop and #digits <= 9 and tonumber(digits) >= 1 then return digits end
  if sub(s, at, at + 3) == "null" then return nil end
  return false
end

-- The values the desk needs. Returns fault, detail; or nil, model, stream, limit.
local function read(s, names)
  if not names.model then return "missing_model", "" end
  local model = string.match(s, '^"([%w._:/@+-]+)"', names.model)
  if not model or #model > 200 then return "invalid_field", "model" end
  local stream = false
  if names.stream then
    local word = string.match(s, "^%l+", names.stream)
    if word ~= "true" and word ~= "false" and word ~= "null" then return "invalid_field", "stream" end
    stream = word == "true"
  end
  local limit
  for _, name in ipairs({ "max_tokens", "max_completion_tokens" }) do
    local value = names[name] and whole(s, names[name])
    if value == false then return "invalid_field", name end
    limit = value or limit
  end
  -- One ticket is one sequence in one seat, or its tokens could not be counted exactly.
  for _, name in ipairs({ "n", "best_of" }) do
    local value = names[name] and whole(s, names[name])
    if value and value ~= "1" or value == false then return "invalid_field", name end
  end
  return nil, model, stream, limit
end

-- The same media types that Envoy's parser is told to read: what is taken for JSON here must be parsed there.
local function json(media) return find(string.lower(media or "") .. ";", "^application/json[ \t]*;") end

function envoy_on_request(handle)
  local body = handle:body() -- waits for all of it; what was taken from the handle before is stale afterwards
  local headers = handle:headers()
  local size = body and body:length() or 0
  local path = string.match(headers:get(":path") or "", "^[^?#]*")
  local fault, detail, names, images, read_bytes, stream, limit
  if not json(headers:get("content-type")) then
    fault, detail = "unsupported_media", ""
  elseif size == 0 then
    fault, detail = "invalid_body", ""
  else
    local text = body:getBytes(0, size)
    fault, detail, names, images, read_bytes = scan(text, path)
    if not fault then fault, detail, stream, limit = read(text, names) end
    -- llama.cpp's other form of an answer to these, which does not say what it took.
    if not fault and path == "/v1/rerank" and names.texts then fault, detail = "invalid_field", "texts" end
  end
  if fault then
    if UNBOUNDED[fault] then headers:replace("content-type", "text/plain") end -- spares the parser
    headers:replace("x-samdrift-facts", size .. ";0;;" .. fault .. ";" .. detail .. ";0;" .. size)
  else
    headers:replace("x-samdrift-model", detail)
    headers:replace("x-samdrift-facts", size .. ";" .. (stream and 1 or 0) .. ";" .. (limit or "") .. ";;;" .. images .. ";" .. read_bytes)
  end
end
