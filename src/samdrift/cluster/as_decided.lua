-- Puts into a body what the desk has decided: what keeps its caller's prompts apart in the engine, and in place of an alias, or of a
-- model that another stands in for, the name of the one that serves it.
--
-- It runs after the desk was asked and before Envoy AI Gateway, which routes by the name in the body, reads it. Routes lead to an
-- engine only what carries `x-samdrift-decided` with the same name: where this has not run, nothing reaches any engine.

local find, byte, sub = string.find, string.byte, string.sub

-- Where the value of the member `model` begins and ends, quotes included. read_body.lua has seen that it is there once, as a text
-- without escapes.
local function place_of_model(s)
  local i, depth = 1, 0
  while true do
    local p = find(s, '["{}%[%]]', i)
    local c = byte(s, p)
    if c == 34 then -- "
      local q = p + 1
      while true do
        q = find(s, '["\\]', q)
        if byte(s, q) == 34 then break end
        q = q + 2
      end
      local from = depth == 1 and sub(s, p, q) == '"model"' and string.match(s, '^[ \t\r\n]*:[ \t\r\n]*()"', q + 1)
      if from then return from, find(s, '"', from + 1, true) end
      i = q + 1
    else
      depth = depth + ((c == 123 or c == 91) and 1 or -1) -- { and [
      i = p + 1
    end
  end
end

function envoy_on_request(handle)
  local stream = handle:streamInfo()
  if stream:routeName() == "" then
    -- A path that is none of ours, or a host that this connection is not for. Envoy would say so only after each endpoint picker
    -- has been sent the request: they are switched off by route, and here there is none.
    local host = string.match(handle:headers():get(":authority") or "", "^[^:]*")
    handle:respond({ [":status"] = host == stream:requestedServerName() and "404" or "421" }, "")
    return
  end
  local decided = stream:dynamicMetadata():get("envoy.filters.http.ext_authz")
  local account = decided and decided["x-samdrift-account"]
  if not account then return end -- nobody was asked, as at the console
  local headers = handle:headers()
  local model = string.match(account, "^[^;]*;[^;]*;[^;]*;([^;@]+)")
  local fields = decided["x-samdrift-fields"] or ""
  local asked = headers:get("x-samdrift-model")
  if fields ~= "" or model ~= asked then
    local body = handle:body()
    local text = body:getBytes(0, body:length())
    if model ~= asked then
      local from, to = place_of_model(text)
      text = sub(text, 1, from) .. model .. sub(text, to)
    end
    if fields ~= "" then
      -- read_body.lua has seen that an object begins here, that it has a member, and that the caller sent none of these itself.
      local brace = find(text, "{", 1, true)
      text = "{" .. fields .. "," .. sub(text, brace + 1)
    end
    local length = body:setBytes(text)
    headers = handle:headers() -- what was taken from the handle before the body is stale by now
    headers:replace("content-length", length)
  end
  headers:replace("x-samdrift-decided", model)
end
