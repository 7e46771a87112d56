--- @include "lib.lua"
-- Releases all claims of a relay that stops, and removes it.
--
-- ARGV     [1] time stamp; [2] relay
-- Returns  {store state}
local now = readNow(ARGV[1])
allowWritesWhenFull()
for _, lane in ipairs(lanes) do
  releaseClaims(lane, ARGV[2], 1e9)
end
forgetRelay(ARGV[2])
return { readStoreState(now) }
