--- @include "lib.lua"
-- What the two scripts of facts read first: [1] time stamp, and one value for each kind of fact: its age
-- bound in ms, -1 for none.
local now = readNow(ARGV[1])
-- `memos` has the facts that an earlier version of the relay wrote.
local facts, memos = storeKey('facts'), storeKey('memos')
local maxAges = {}
for index, kind in ipairs(factKinds) do
  maxAges[kind] = tonumber(ARGV[1 + index])
end
-- Index of the first argument that follows.
local firstArgument = 2 + #factKinds

-- A record is `kind ms value`.
local function isExpired(record)
  local kind, at = string.match(record, '^(%a+) (%d+) ')
  local maxAge = maxAges[kind] or -1
  return maxAge >= 0 and tonumber(at) + maxAge <= now
end
