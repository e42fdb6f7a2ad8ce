-- Takes out of a stream what it was made to carry so that we can count: `usage` in each chunk, and the last chunk, which has usage
-- and no choices and breaks clients that did not ask for it. It stands behind the readers of usage on the way back: they have seen
-- everything. What write_body.lua left says what is hidden: `all` from who asked for nothing, and the `running` count from who
-- asked for usage at the end.
--
-- Content cannot be mistaken for usage: within a string of JSON, quotes are written with a backslash.

local MAX_EVENT = 1048576 -- bytes; a longer event goes through as it is, rather than be gathered without end

local find, sub, gsub = string.find, string.sub, string.gsub

local function shown(event, hidden)
  if not find(event, '"usage"%s*:%s*{') then return event end
  if find(event, '"choices"%s*:%s*%[%s*%]') then return hidden == "all" and "" or event end
  if hidden == "running" then return (gsub(event, '("usage"%s*:%s*)%b{}', "%1null")) end
  local without, found = gsub(event, '%s*,%s*"usage"%s*:%s*%b{}', "")
  if found == 0 then without = gsub(event, '"usage"%s*:%s*%b{}%s*,?%s*', "") end
  return without
end

function envoy_on_response(handle)
  local asked = handle:streamInfo():dynamicMetadata():get("samdrift.asked")
  local hidden = asked and asked["hidden"]
  if not hidden then return end
  if not find(string.lower(handle:headers():get("content-type") or ""), "^text/event%-stream") then return end
  handle:headers():remove("content-length") -- it becomes shorter
  local held = ""
  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    if size > 0 then held = held .. chunk:getBytes(0, size) end
    local out, i = {}, 1
    while true do
      local _, stop = find(held, "\r?\n\r?\n", i)
      if not stop then break end
      out[#out + 1] = shown(sub(held, i, stop), hidden)
      i = stop + 1
    end
    held = sub(held, i)
    if size == 0 or #held > MAX_EVENT then -- the end, or no end in sight
      out[#out + 1] = held
      held = ""
    end
    chunk:setBytes(table.concat(out))
  end
end
