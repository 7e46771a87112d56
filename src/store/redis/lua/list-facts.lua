--- @include "lib.lua"
-- Reads a page of the facts, expired ones included.
--
-- ARGV     [1] `facts` or `memos`; [2] cursor, 0 at the start; [3] most entries, about
-- Returns  {cursor or '0' at the end, {key, record, …}}; a record of `facts` is `kind ms value`
return redis.call('HSCAN', storeKey(ARGV[1]), ARGV[2], 'COUNT', ARGV[3])
