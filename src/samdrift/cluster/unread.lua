-- Refuses a body that Envoy AI Gateway has read already. It sends engines what it has read, without what the desk is about to
-- decide; and it belongs behind Envoy's buffer, where it comes last.

local AWAY = @AWAY@

function envoy_on_request(handle)
  -- Clients cannot set this: it is taken off.
  if handle:headers():get("x-ai-eg-model") then
    handle:logErr("Envoy AI Gateway reads bodies before the desk is asked about them: see `requestBuffer` in docs/cluster.md")
    handle:respond({ [":status"] = "503", ["content-type"] = "application/json" }, AWAY)
  end
end
