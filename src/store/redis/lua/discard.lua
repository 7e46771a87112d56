--- @include "lib.lua"
--- @include "dead-letters.lua"
-- Deletes dead letters.
--
-- ARGV     [1] time stamp; then the orders of the dead letters
-- Returns  {count of the deleted, store state}
local now = readNow(ARGV[1])
local deleted = 0
allowWritesWhenFull()
for index = 2, #ARGV do
  if removeDeadLetter(ARGV[index]) then deleted = deleted + 1 end
end
return { deleted, readStoreState(now) }
