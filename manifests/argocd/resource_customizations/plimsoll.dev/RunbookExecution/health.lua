local hs = { status = "Progressing", message = "The operator has not looked at it yet" }
if obj.status == nil or obj.status.phase == nil then
  return hs
end
-- What waits for a guard or for a person goes on by itself or by them; what ended badly is to be looked at.
local health = {
  Pending = "Progressing",
  Blocked = "Suspended",
  AwaitingApproval = "Suspended",
  Running = "Progressing",
  Verifying = "Progressing",
  Succeeded = "Healthy",
  Skipped = "Healthy",
  RolledBack = "Degraded",
  Failed = "Degraded",
  Unknown = "Degraded",
}
hs.status = health[obj.status.phase] or "Unknown"
hs.message = obj.status.phase
if obj.status.message ~= nil and obj.status.message ~= "" then
  hs.message = hs.message .. ": " .. obj.status.message
end
return hs
