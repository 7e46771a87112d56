--- @include "lib.lua"
-- Removes facts.
--
-- ARGV     [1] time stamp; then the keys
-- Returns  {number of removed facts, store state}
local now, keys = readNow(ARGV[1]), {}
allowWritesWhenFull()
for index = 2, #ARGV do
  keys[#keys + 1] = ARGV[index]
end
local removed = 0
for _, name in ipairs({ 'facts', 'memos' }) do
  for _, reply in ipairs(callInBulk('HDEL', storeKey(name), keys)) do
    removed = removed + reply
  end
end
for _, kind in ipairs(factKinds) do
  callInBulk('ZREM', storeKey('facts:' .. kind), keys)
end
callInBulk('ZREM', storeKey('memo-orders'), keys)
return { removed, readStoreState(now) }
