-- Puts into a body what keeps callers' prompts apart in engines that remember them: a salt that each credential has alone, and to
-- llama.cpp, which knows no salts, that it shall not remember. And in place of an alias the name that it stands for.
--
-- It runs right after read_body.lua and before the desk is asked, for Envoy Gateway knows one place for all Lua. So whose request
-- it is, is not known here; what the caller shows for it is. The desk lets nobody in whose credential is not good, and who has
-- another one has another salt.
--
-- Envoy AI Gateway must read bodies after this: it sends engines what it has read. Where it was first, nothing passes.

local OUTSIDE = { @OUTSIDE@ } -- models of others: what they remember is between them and the community
local ALIASES = { @ALIASES@ } -- names that stand for another: whoever routes, and engines that check, know only that one
local AWAY = @AWAY@

local find, byte, char, sub = string.find, string.byte, string.char, string.sub

local ROUNDS = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}

-- SHA-256 (FIPS 180-4), in hexadecimal digits. `bit` is LuaJIT's, which Envoy runs.
local function sha256(text)
  local band, bnot, bxor, ror, shr, tobit = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit
  local size = #text
  text = text .. "\128" .. string.rep("\0", (55 - size) % 64 + 4)
    .. char(shr(size * 8, 24), band(shr(size * 8, 16), 255), band(shr(size * 8, 8), 255), band(size * 8, 255))
  local sum = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 }
  local w = {}
  for block = 1, #text, 64 do
    for i = 1, 16 do
      local p, q, r, s = byte(text, block + i * 4 - 4, block + i * 4 - 1)
      w[i] = tobit(((p * 256 + q) * 256 + r) * 256 + s)
    end
    for i = 17, 64 do
      local early, late = w[i - 15], w[i - 2]
      w[i] = tobit(w[i - 16] + bxor(ror(early, 7), ror(early, 18), shr(early, 3)) + w[i - 7]
        + bxor(ror(late, 17), ror(late, 19), shr(late, 10)))
    end
    local a, b, c, d, e, f, g, h = unpack(sum)
    for i = 1, 64 do
      local one = tobit(h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g)) + ROUNDS[i] + w[i])
      local two = tobit(bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c)))
      a, b, c, d, e, f, g, h = tobit(one + two), a, b, c, tobit(d + one), e, f, g
    end
    for i, more in ipairs({ a, b, c, d, e, f, g, h }) do sum[i] = tobit(sum[i] + more) end
  end
  for i, part in ipairs(sum) do sum[i] = bit.tohex(part) end
  return table.concat(sum)
end

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

local function refuse(handle, why)
  handle:logErr(why)
  handle:respond({ [":status"] = "503", ["content-type"] = "application/json" }, AWAY)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("x-ai-eg-model") then
    -- Clients cannot set it (it is taken off): Envoy AI Gateway has read this body, and may send that instead of what we write.
    return refuse(handle, "Envoy AI Gateway reads bodies before their salts are in them: see `requestBuffer` in docs/cluster.md")
  end
  if not bit then return refuse(handle, "this is no LuaJIT: salts cannot be reckoned") end
  local asked = headers:get("x-samdrift-model")
  if not asked then return end -- the desk refuses it
  local model = ALIASES[asked] or asked
  local shown = (headers:get("authorization") or "") .. "\0" .. (headers:get("x-forwarded-client-cert") or "")
  if shown == "\0" then return end -- likewise
  local body = handle:body()
  local text = body:getBytes(0, body:length())
  if model ~= asked then
    local from, to = place_of_model(text)
    text = sub(text, 1, from) .. model .. sub(text, to)
  end
  if not OUTSIDE[model] then
    -- read_body.lua has seen that an object begins here, and that the caller sent neither of the two itself.
    local brace = find(text, "{", 1, true)
    local salt = sub(sha256("samdrift prompts\0" .. shown), 1, 32)
    text = '{"cache_salt":"' .. salt .. '","cache_prompt":false,' .. sub(text, brace + 1)
  end
  local length = body:setBytes(text)
  headers = handle:headers() -- what was taken from the handle before the body is stale by now
  headers:replace("content-length", length)
  headers:replace("x-samdrift-model", model)
end
