-- Puts the fields that the desk chose in front of the body, as text after the first brace: the rest of the body
-- stays as the client wrote it, byte for byte. The client cannot have sent these fields, for read_body.lua refuses them; but for
-- two that it may send and that stand in front with another value: what it sent is cut out, or it would be the last word.
--
-- What a client that streams wants to be told of usage is left for strip_usage.lua.

local find, byte, sub = string.find, string.byte, string.sub
local QUOTE, OPEN, LIST = 34, 123, 91
local REPLACED = { "stream_options", "model" }

-- The end of the string that begins at `i`.
local function string_end(s, i)
  i = i + 1
  while byte(s, i) ~= QUOTE do
    i = find(s, '["\\]', i)
    if byte(s, i) ~= QUOTE then i = i + 2 end
  end
  return i
end

-- The end of the value that begins at `i`.
local function value_end(s, i)
  local first = byte(s, i)
  if first == QUOTE then return string_end(s, i) end
  if first ~= OPEN and first ~= LIST then return find(s, "[,} \t\r\n]", i) - 1 end
  local depth = 0
  repeat
    i = find(s, '["{}%[%]]', i)
    local c = byte(s, i)
    if c == QUOTE then
      i = string_end(s, i)
    else
      depth = depth + ((c == OPEN or c == LIST) and 1 or -1)
    end
    i = i + 1
  until depth == 0
  return i - 1
end

-- The body without its member `name`, and the text of that member's value; nil if it has none. read_body.lua has seen that the
-- body is sound, and Envoy's parser that it is JSON: so no end is missed here.
local function cut(s, name)
  local i = find(s, "[^ \t\r\n]", find(s, "{", 1, true) + 1)
  while byte(s, i) == QUOTE do
    local stop = string_end(s, i)
    local from = find(s, "[^ \t\r\n]", find(s, ":", stop, true) + 1)
    local till = value_end(s, from)
    local comma = find(s, "[^ \t\r\n]", till + 1)
    local more = sub(s, comma, comma) == ","
    if sub(s, i + 1, stop - 1) == name then
      local value = sub(s, from, till)
      if more then return sub(s, 1, i - 1) .. sub(s, find(s, "[^ \t\r\n]", comma + 1), -1), value end
      return (string.gsub(sub(s, 1, i - 1), ",[ \t\r\n]*$", "")) .. sub(s, comma, -1), value
    end
    if not more then return s, nil end
    i = find(s, "[^ \t\r\n]", comma + 1)
  end
  return s, nil
end

function envoy_on_request(handle)
  local decided = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.ext_authz")
  local fields = decided and decided["x-samdrift-fields"]
  if not fields or fields == "" then return end
  local body = handle:body()
  local text = body:getBytes(0, body:length())
  for _, name in ipairs(REPLACED) do
    if find(fields, '"' .. name .. '":', 1, true) then
      local value
      if find(text, '"' .. name .. '"', 1, true) then text, value = cut(text, name) end
      if name == "stream_options" then
        local asked = value and find(value, '"include_usage"%s*:%s*true')
        local running = asked and find(value, '"continuous_usage_stats"%s*:%s*true')
        -- What was taken from the handle before the body is stale by now.
        local metadata = handle:streamInfo():dynamicMetadata()
        if not running then metadata:set("samdrift.asked", "hidden", asked and "running" or "all") end
      end
    end
  end
  local brace = find(text, "{", 1, true)
  local rest = sub(text, brace + 1)
  local comma = find(rest, "^[ \t\r\n]*}") and "" or ","
  local length = body:setBytes("{" .. fields .. comma .. rest)
  handle:headers():replace("content-length", length)
end
