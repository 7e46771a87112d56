--- @include "lib.lua"
-- The order of one person's envelopes across lanes, with the rules of src/store/person-order.ts.
--
-- An envelope waits for an earlier one of another lane under the name `OTHER:KEY`, and for an erasure of its
-- person under `erase:KEY`.
local after, awaited, isBlocking = constants.after, {}, {}
for _, others in pairs(after) do
  for _, other in ipairs(others) do
    awaited[other] = true
  end
end

for _, lane in ipairs(constants.blocking) do
  awaited[lane] = true
  isBlocking[lane] = true
end

-- Returns the smallest number of a key in a sorted set of such members, or nil.
local function findFirst(name, key)
  local found = redis.call('ZRANGEBYLEX', name, '[' .. key .. ' ', '(' .. key .. '!', 'LIMIT', 0, 1)[1]
  return found and tonumber(string.match(found, ' (%d+)$'))
end

-- Notes an unsettled envelope.
local function addToOrder(lane, seq, keys)
  if not awaited[lane] then return end
  for _, key in ipairs(keys) do
    redis.call('ZADD', laneKey(lane, 'people'), 0, toMember(key, seq))
  end
end

-- Notes that an envelope is settled, and makes claimable what waited for it.
local function removeFromOrder(lane, seq, keys)
  if not awaited[lane] then return end
  local names = {}
  for index, key in ipairs(keys) do
    redis.call('ZREM', laneKey(lane, 'people'), toMember(key, seq))
    names[index] = lane .. ':' .. key
  end
  if isBlocking[lane] then
    for _, other in ipairs(lanes) do
      if other ~= lane then releaseWaiters(other, { unpack(names) }) end
    end
  end
  for other, others in pairs(after) do
    for _, each in ipairs(others) do
      if each == lane then releaseWaiters(other, { unpack(names) }) end
    end
  end
end

-- A claim of many profiles must not look up each key of a lane that is empty.
local isEmpty = {}
local function isLaneEmpty(lane)
  if isEmpty[lane] == nil then isEmpty[lane] = redis.call('EXISTS', laneKey(lane, 'people')) == 0 end
  return isEmpty[lane]
end

-- A key of an event's person that the server can compute from the payload. The relay adds the same key to an
-- erasure (erasure.ts). Lua changes the case of ASCII letters only, so all other addresses share one key.
local function toServerKey(kind, value)
  if type(value) ~= 'string' then return nil end
  if kind == 'e' then value = string.find(value, '[\128-\255]') and '' or string.lower(value) end
  return 's' .. redis.sha1hex(kind .. value)
end

local function readEventPerson(payload)
  local isRead, event = pcall(cjson.decode, payload)
  for _, name in ipairs({ 'attributes', 'profile', 'data', 'attributes' }) do
    event = isRead and type(event) == 'table' and event[name] or nil
  end
  if type(event) ~= 'table' then return {} end
  local keys = {}
  for kind, name in pairs({ e = 'email', p = 'phone_number', x = 'external_id' }) do
    keys[#keys + 1] = toServerKey(kind, event[name])
  end
  return keys
end

-- Returns the name of the unsettled erasure of the envelope's person, or nil.
local function findBlocking(lane, envelope)
  for _, other in ipairs(constants.blocking) do
    local people = laneKey(other, 'people')
    if other ~= lane and not isLaneEmpty(other) then
      local keys = lane == 'events' and readEventPerson(envelope.payload) or envelope.keys
      for _, key in ipairs(keys) do
        if findFirst(people, key) then return other .. ':' .. key end
      end
    end
  end
  return nil
end

-- Returns the name of what the envelope must wait for, or nil. Not for scripts that change the order.
local function findEarlier(lane, envelope)
  local blocking = findBlocking(lane, envelope)
  if blocking then return blocking end
  local seq, keys = envelope.seq, envelope.keys
  for _, other in ipairs(after[lane] or {}) do
    for _, key in ipairs(isLaneEmpty(other) and {} or keys) do
      local first = findFirst(laneKey(other, 'people'), key)
      if first and first < tonumber(seq) then return other .. ':' .. key end
    end
  end
  return nil
end
