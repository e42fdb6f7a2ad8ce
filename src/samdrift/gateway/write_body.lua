-- Puts the fields that the desk chose in front of the body, as text after the first brace: the rest of the body
-- stays as the client wrote it, byte for byte. The client cannot have sent these fields: read_body.lua refuses them.

function envoy_on_request(handle)
  local decided = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.ext_authz")
  local fields = decided and decided["x-samdrift-fields"]
  if not fields or fields == "" then return end
  local body = handle:body()
  local text = body:getBytes(0, body:length())
  local brace = string.find(text, "{", 1, true)
  local rest = string.sub(text, brace + 1)
  local comma = string.find(rest, "^[ \t\r\n]*}") and "" or ","
  local length = body:setBytes("{" .. fields .. comma .. rest)
  handle:headers():replace("content-length", length)
end
