-- Reads what the desk must know about a body, and puts it into two headers. Decides nothing: whatever is
-- wrong with the body becomes a `fault` that the desk turns into a refusal, after it knows who asks.
--
-- It runs before Envoy's own JSON parser, and bounds what that parser is given: depth and the number of parts (the parser
-- would spend seconds on ten megabytes of brackets). The parser then says whether the text is JSON at all. What is read here is
-- read the same by every parser: each top-level name stands once and without escapes, so that the text behind
-- it is the value.

local MAX_DEPTH = @MAX_DEPTH@
local MAX_MARKS = 200000 -- structural characters: bounds the time a hostile body can cost (about 20 ms)
local UNBOUNDED = { too_deep = true, too_complex = true }
local RESERVED = { @RESERVED@ }

local find, byte, sub = string.find, string.byte, string.sub
local QUOTE, BACKSLASH, OPEN, CLOSE, LIST, LISTEND, COLON = 34, 92, 123, 125, 91, 93, 58

-- Returns fault, detail, names: the top-level names, each with the place of its value.
local function scan(s)
  local names = {}
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
        end
      end
    else
      if c == OPEN or c == LIST then
        depth = depth + 1
        if depth > MAX_DEPTH then return "too_deep", "", names end
      else
        depth = depth - 1
      end
      i = p + 1
    end
  end
  -- Some parsers, Envoy's among them, stop at a zero byte and never see what follows.
  if find(s, "[^ \t\r\n]", i) then return "invalid_body", "", names end
  if prompts > 1 then return "invalid_field", "prompt", names end
  return nil, "", names
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
  local fault, detail, names, stream, limit
  if not json(headers:get("content-type")) then
    fault, detail = "unsupported_media", ""
  elseif size == 0 then
    fault, detail = "invalid_body", ""
  else
    local text = body:getBytes(0, size)
    fault, detail, names = scan(text)
    if not fault then fault, detail, stream, limit = read(text, names) end
  end
  if fault then
    if UNBOUNDED[fault] then headers:replace("content-type", "text/plain") end -- spares the parser
    headers:replace("x-samdrift-facts", size .. ";0;;" .. fault .. ";" .. detail)
  else
    headers:replace("x-samdrift-model", detail)
    headers:replace("x-samdrift-facts", size .. ";" .. (stream and 1 or 0) .. ";" .. (limit or "") .. ";;")
  end
end
