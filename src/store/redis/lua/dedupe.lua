--- @include "lib.lua"
-- The dedupe window: an event that repeats a key of an earlier one within the window is not stored again.
-- The window is bounded by age (ms) and by count; 0 for either turns it off.

-- Records events ({seq, keys}) in the order of their acceptance.
local function recordEvents(events, now, maxAge, maxCount)
  if maxAge <= 0 or maxCount <= 0 or #events == 0 then return end
  local orderBefore = redis.call('HINCRBY', storeKey('meta'), 'note', #events) - #events
  local records, log = {}, {}
  for index, event in ipairs(events) do
    local order = orderBefore + index
    local record = event.seq .. ':' .. order .. ':' .. now
    for _, key in ipairs(event.keys) do
      records[#records + 1] = key
      records[#records + 1] = record
    end
    log[index] = order .. ' ' .. now .. ' ' .. table.concat(event.keys, ' ')
  end
  callInBulk('HSET', storeKey('seen'), records)
  callInBulk('RPUSH', storeKey('seen-log'), log)
end

-- Drops what lies outside the window; at most `most` events, so that no script pays for many.
local function trimDedupeWindow(now, maxAge, maxCount, most)
  local log = storeKey('seen-log')
  local excess = redis.call('LLEN', log) - maxCount
  for _ = 1, most do
    local oldest = redis.call('LINDEX', log, 0)
    if not oldest then return end
    local words = splitWords(oldest)
    local order, at = words[1], tonumber(words[2])
    if excess <= 0 and at + maxAge > now then return end
    redis.call('LPOP', log)
    excess = excess - 1
    for index = 3, #words do
      local record = redis.call('HGET', storeKey('seen'), words[index])
      -- A newer event may have replaced the record of this key.
      if record and string.match(record, ':(%d+):') == order then
        redis.call('HDEL', storeKey('seen'), words[index])
      end
    end
  end
end

-- The number of the earlier event that shares a key, or nil. `records` has the record or false by key.
local function findDuplicate(records, keys, now, maxAge)
  for _, key in ipairs(keys) do
    if records[key] then
      local seq, at = string.match(records[key], '^(%d+):%d+:(%d+)$')
      if tonumber(at) + maxAge > now then return tonumber(seq) end
    end
  end
  return nil
end

-- Removes a dead-lettered event from the window, so that its repetition is accepted.
local function forgetEvent(keys, seq)
  for _, key in ipairs(keys) do
    local record = redis.call('HGET', storeKey('seen'), key)
    if record and string.match(record, '^%d+') == tostring(seq) then
      redis.call('HDEL', storeKey('seen'), key)
    end
  end
end
