--- @include "lib.lua"
--- @include "facts.lua"
-- ARGV     as in facts.lua; then the keys
-- Returns  the value of each key, or nil
local keys = {}
for index = firstArgument, #ARGV do
  keys[#keys + 1] = ARGV[index]
end
-- Storing a fact removes the old one of its key, so an old one that is present is newer: a relay of an
-- earlier version wrote it since.
local oldRelease = redis.call('EXISTS', memos) == 1 and readFields(memos, keys) or {}
local records = readFields(facts, keys)
local values = {}
for index, key in ipairs(keys) do
  local record = records[key]
  values[index] = oldRelease[key] or false
  if not oldRelease[key] and record and not isExpired(record) then
    local valueStart = string.find(record, ' ', string.find(record, ' ', 1, true) + 1, true) + 1
    values[index] = string.sub(record, valueStart)
  end
end
return values
