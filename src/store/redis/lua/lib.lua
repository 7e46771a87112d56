--- @include "../../../redis/lua/time.lua"
-- Layout of the store in Redis, and the functions that the scripts share. Every script includes this file.
--
-- KEYS[1] is the prefix with the cluster's hash tag in braces; no key has this name itself. The further
-- KEYS are the names of all keys below (scripts.ts), so that a cluster rejects a script while it moves
-- them to another node. The table `constants` is put before each script by the loader (scripts.ts).
--
-- LANE is a lane of the store (src/model/lane.ts). A number (`seq`) is an envelope's place in
-- its lane; an order is the place of a dead letter, delivery or fact in its list. Times are in ms of the
-- steady time (time.lua) unless the text names another clock. A key of an envelope is the hash of an
-- identifier, or of its unique_id in the lane `events`.
--
-- Of the store:
-- - `meta`: hash. `epoch`, `version`, `full`, `rewrittenRun` (file-rewrite.ts), the last order of dead
--   letters (`letter`), deliveries (`delivery`), facts (`fact`) and of the dedupe log (`note`),
--   `firstDelivery`, the drain rate (`drainedCount`, `drainedBytes`, `drainedAt`), the steady time.
-- - `account`: hash. Digest of an API key (account.ts) → Klaviyo's account id, `-` if Klaviyo does not name
--   it, '' if it has not been read yet.
-- - `relays`: sorted set. Relay → end of its lease; 0 after a part of its claims was released.
-- - `fences`: hash. Relay → its newest claim that was released because its reply was lost.
-- - `changes`: hash. Relay → number of its newest change of its claims.
-- - `probe`, `none`: see `heartbeat.lua` and `allowWritesWhenFull`.
--
-- Of a lane:
-- - `LANE:queue`: stream. `seq-0` → `m` (acceptedAt readyAt key…) and `p` (payload), until it is settled.
-- - `LANE:redriven`: hash. seq → m, newline, payload: a stream accepts no old number again.
-- - `LANE:redriven-at`: sorted set. seq → acceptedAt.
-- - `LANE:stats`: hash. `cursor` (the last number that was claimed in the order of the queue), `seq` (the
--   last number), `count`, `bytes`, `ready`, `readyBytes` (of what can be claimed now), the totals
--   `accepted`, `delivered`, `merged`, `buried` (dead-lettered), `erased`, and `letters` (dead letters now).
-- - `LANE:returned`: sorted set. Numbers before the cursor that can be claimed again.
-- - `LANE:delayed`: sorted set. seq → when its retry is due.
-- - `LANE:claimed`: hash. seq → `relay/claim`, or `-` if its import job outlived its relay.
-- - `LANE:tries`: hash. seq → JSON {attempts, alone, lastTry, ref} of an envelope that was sent before.
-- - `LANE:taken`: hash. Locked key → number of claimed or delayed envelopes that have it.
-- - `LANE:reserved`: hash. Key → number of waiting envelopes that have it.
-- - `LANE:waiting-keys`: sorted set of `key seq`: instead of `reserved` in lanes that wait for other lanes.
-- - `LANE:people`: sorted set of `key seq` of all unsettled envelopes, in lanes that others wait for
--   (person-order.lua).
-- - `LANE:waiters`: sorted set of `key seq`: the envelope waits for this key.
-- - `LANE:imports`: hash. Id of an import job → JSON {delivery, seqs}.
-- - `LANE:orphans`: set of ids of import jobs whose relay is gone.
-- - `LANE:settled`: sorted set. `first last order merged` of delivered numbers → last.
--
-- Of all lanes:
-- - `seen`: hash. Key of an event → `seq:order:ms` (dedupe.lua). `seen-log`: list of `order ms key…`.
-- - `letters`: hash. Order → JSON, newline, payload. `letter-orders`: sorted set. `LANE seq` → order.
-- - `deliveries`: hash. Order → JSON. `delivery-ranges`: hash. Order → lines of `LANE` and the member of
--   `LANE:settled`. `delivery-orders`: hash. Id → order.
-- - `facts`: hash. Key → `kind ms value`. `facts:KIND`: sorted set. Key → order. `memos` and
--   `memo-orders`: the same of an earlier version, without kind and time.
--
-- Locks of keys follow src/store/key-locks.ts, and claims follow src/store/claim-builder.ts: the same rules
-- inside the server.
local prefix = KEYS[1]
local lanes, factKinds = constants.lanes, constants.factKinds

local function storeKey(name) return prefix .. ':' .. name end

local function laneKey(lane, name) return prefix .. ':' .. lane .. ':' .. name end

local function toNumber(value) return tonumber(value or 0) end

-- Only the heartbeat saves the time, and it runs every 100 ms.
local function readNow(stamp) return math.floor(readSteadyTime(storeKey('meta'), stamp).now) end

-- Redis rejects the first write of a script while its memory is full, unless the command frees memory.
-- After this DEL, the script may write: a settlement frees memory.
local function allowWritesWhenFull() redis.call('DEL', storeKey('none')) end

local function splitWords(text)
  local words = {}
  for word in string.gmatch(text, '%S+') do
    words[#words + 1] = word
  end
  return words
end

-- Lua's `unpack` has an upper bound of about 8000 values.
local argumentsPerCall = 4000

-- Runs a command with many arguments in few calls, because a call costs more than its work.
local function callInBulk(command, name, args)
  local replies = {}
  for first = 1, #args, argumentsPerCall do
    local last = math.min(#args, first + argumentsPerCall - 1)
    replies[#replies + 1] = redis.call(command, name, unpack(args, first, last))
  end
  return replies
end

-- Values of a hash by field; false for an absent field.
local function readFields(name, fields)
  local values = {}
  for first = 1, #fields, argumentsPerCall do
    local last = math.min(#fields, first + argumentsPerCall - 1)
    local found = redis.call('HMGET', name, unpack(fields, first, last))
    for index = first, last do
      values[fields[index]] = found[index - first + 1]
    end
  end
  return values
end

local function toEnvelope(seq, m, payload)
  local words = splitWords(m)
  local keys = {}
  for index = 3, #words do
    keys[#keys + 1] = words[index]
  end
  return {
    seq = seq,
    m = m,
    payload = payload,
    acceptedAt = words[1],
    readyAt = words[2],
    keys = keys,
    -- The payload and a separator (`payloadBytes` in claim-builder.ts).
    bytes = #payload + 1,
  }
end

-- The envelope of that number, or nil if it is not stored.
local function readEnvelope(lane, seq)
  local id = seq .. '-0'
  local found = redis.call('XRANGE', laneKey(lane, 'queue'), id, id)[1]
  if found then return toEnvelope(seq, found[2][2], found[2][4]) end
  local redriven = redis.call('HGET', laneKey(lane, 'redriven'), seq)
  if not redriven then return nil end
  local newline = string.find(redriven, '\n', 1, true)
  return toEnvelope(seq, string.sub(redriven, 1, newline - 1), string.sub(redriven, newline + 1))
end

local function incrementStat(lane, name, by)
  if by ~= 0 then redis.call('HINCRBY', laneKey(lane, 'stats'), name, by) end
end

-- Makes an envelope claimable that lies before the cursor.
local function makeClaimable(lane, envelope)
  redis.call('ZADD', laneKey(lane, 'returned'), envelope.seq, envelope.seq)
  incrementStat(lane, 'ready', 1)
  incrementStat(lane, 'readyBytes', envelope.bytes)
end

-- Adds to a counter in a hash and removes the field at 0.
local function addToCounter(name, field, by)
  if redis.call('HINCRBY', name, field, by) <= 0 then redis.call('HDEL', name, field) end
end

-- `key seq` in a sorted set. Numbers have a fixed width, so that they sort by value.
local function toMember(key, seq) return string.format('%s %013d', key, seq) end

-- Counts a key of a waiting envelope, or no longer. Lanes that wait for other lanes also need the number:
-- there, an envelope that waits must not delay an earlier one.
local function countReserved(lane, key, seq, by)
  if not constants.after[lane] then
    addToCounter(laneKey(lane, 'reserved'), key, by)
  elseif by > 0 then
    redis.call('ZADD', laneKey(lane, 'waiting-keys'), 0, toMember(key, seq))
  elseif redis.call('ZREM', laneKey(lane, 'waiting-keys'), toMember(key, seq)) == 0 then
    -- An earlier version, in which the lane waited for no other, counted the key.
    addToCounter(laneKey(lane, 'reserved'), key, by)
  end
end

-- Lets an envelope wait for a locked key; what comes after it must not overtake it on any of its keys.
local function waitForKey(lane, lockedKey, envelope)
  redis.call('ZADD', laneKey(lane, 'waiters'), 0, lockedKey .. ' ' .. envelope.seq)
  for _, key in ipairs(envelope.keys) do
    countReserved(lane, key, envelope.seq, 1)
  end
end

-- Makes claimable what waits for one of the names, directly or through another waiter.
local function releaseWaiters(lane, names)
  local waiters = laneKey(lane, 'waiters')
  if redis.call('EXISTS', waiters) == 0 then return end
  while #names > 0 do
    local name = table.remove(names)
    -- A name contains neither a space nor a character that sorts before it; `!` follows the space.
    local found = redis.call('ZRANGEBYLEX', waiters, '[' .. name .. ' ', '(' .. name .. '!')
    for _, member in ipairs(found) do
      redis.call('ZREM', waiters, member)
      local waiter = readEnvelope(lane, string.match(member, ' (%d+)$'))
      if waiter then
        for _, waiterKey in ipairs(waiter.keys) do
          countReserved(lane, waiterKey, waiter.seq, -1)
          names[#names + 1] = waiterKey
        end
        makeClaimable(lane, waiter)
      end
    end
  end
end

-- Unlocks keys once, and makes claimable what waited for them, directly or through another waiter.
local function unlockKeys(lane, keys)
  local unlocked, stillLocked = {}, {}
  local counts = readFields(laneKey(lane, 'taken'), keys)
  for _, key in ipairs(keys) do
    counts[key] = toNumber(counts[key]) - 1
  end
  for key, left in pairs(counts) do
    if left <= 0 then
      unlocked[#unlocked + 1] = key
    else
      stillLocked[#stillLocked + 1] = key
      stillLocked[#stillLocked + 1] = left
    end
  end
  callInBulk('HDEL', laneKey(lane, 'taken'), unlocked)
  callInBulk('HSET', laneKey(lane, 'taken'), stillLocked)
  releaseWaiters(lane, unlocked)
end

-- Ends a claim or a delay without a settlement: the envelope can be claimed again.
local function requeue(lane, seq)
  local envelope = readEnvelope(lane, seq)
  if not envelope then return end
  makeClaimable(lane, envelope)
  unlockKeys(lane, envelope.keys)
end

-- Makes claimable what is due. Its keys stayed locked during the delay, so nothing overtook it.
local function requeueDue(lane, now)
  local due = redis.call('ZRANGEBYSCORE', laneKey(lane, 'delayed'), '-inf', now, 'LIMIT', 0, 2000)
  for _, seq in ipairs(due) do
    redis.call('ZREM', laneKey(lane, 'delayed'), seq)
    requeue(lane, seq)
  end
end

-- Count and bytes of all unsettled envelopes.
local function readSize()
  local count, bytes = 0, 0
  for _, lane in ipairs(lanes) do
    local stats = redis.call('HMGET', laneKey(lane, 'stats'), 'count', 'bytes')
    count = count + toNumber(stats[1])
    bytes = bytes + toNumber(stats[2])
  end
  return count, bytes
end

local statNames = {
  'count',
  'bytes',
  'ready',
  'readyBytes',
  'accepted',
  'delivered',
  'merged',
  'buried',
  'letters',
  'cursor',
  'erased',
}

-- A list of numbers in the order of `toLaneState` (store-state.ts); -1 stands for none.
local function readLaneState(lane)
  local stats = redis.call('HMGET', laneKey(lane, 'stats'), unpack(statNames))
  local state = {}
  for index = 1, 9 do
    state[index] = toNumber(stats[index])
  end
  local ready, cursor = state[3], toNumber(stats[10])
  local oldest = redis.call('XRANGE', laneKey(lane, 'queue'), '-', '+', 'COUNT', 1)[1]
  local oldestAt = oldest and tonumber(splitWords(oldest[2][2])[2])
  local redrivenSeq = redis.call('ZRANGE', laneKey(lane, 'redriven-at'), 0, 0)[1]
  local redriven = redrivenSeq and readEnvelope(lane, redrivenSeq)
  if redriven and (not oldestAt or tonumber(redriven.readyAt) < oldestAt) then
    oldestAt = tonumber(redriven.readyAt)
  end
  state[10] = oldestAt or -1
  state[11] = -1
  if ready > 0 then
    local returned = redis.call('ZRANGE', laneKey(lane, 'returned'), 0, 0)[1]
    local first = returned and tonumber(returned) <= cursor and readEnvelope(lane, returned)
    if not first then
      local fresh = redis.call('XRANGE', laneKey(lane, 'queue'), '(' .. cursor .. '-0', '+', 'COUNT', 1)[1]
      first = fresh and toEnvelope(0, fresh[2][2], '') or returned and readEnvelope(lane, returned)
    end
    if first then state[11] = tonumber(first.readyAt) end
  end
  local due = redis.call('ZRANGE', laneKey(lane, 'delayed'), 0, 0, 'WITHSCORES')[2]
  state[12] = due and tonumber(due) or -1
  state[13] = redis.call('SCARD', laneKey(lane, 'orphans'))
  state[14] = toNumber(stats[11])
  return state
end

-- The state of the store for `toStoreState` (store-state.ts): the last value that most scripts return.
local function readStoreState(now)
  local meta =
    redis.call('HMGET', storeKey('meta'), 'epoch', 'full', 'drainedCount', 'drainedBytes', 'drainedAt')
  local state = { now, meta[1] or '', meta[2] or '', meta[3] or '0', meta[4] or '0', meta[5] or '0' }
  for _, lane in ipairs(lanes) do
    state[#state + 1] = readLaneState(lane)
  end
  return state
end

local function hasLease(relay)
  local leaseEnd = redis.call('ZSCORE', storeKey('relays'), relay)
  return leaseEnd and tonumber(leaseEnd) > 0
end

-- Every relay numbers its claims. A server that hung may run a claim long after the relay stopped waiting
-- for it and released it, or after the relay was considered dead: such a claim must find nothing.
local function mayClaim(relay, claim)
  if not hasLease(relay) then return false end
  return tonumber(claim) > toNumber(redis.call('HGET', storeKey('fences'), relay))
end

-- Every relay numbers the scripts that change its claims; relay and number are the last two of ARGV. A
-- server with a lower number than the relay's last acknowledged one is a replica that became the primary
-- and has lost changes.
local function recordChange()
  local relay, change = ARGV[#ARGV - 1], tonumber(ARGV[#ARGV])
  if not hasLease(relay) then return end
  if change < toNumber(redis.call('HGET', storeKey('changes'), relay)) then return end
  redis.call('HSET', storeKey('changes'), relay, change)
end

local function hasLostChanges(relay, acknowledgedChange)
  return toNumber(redis.call('HGET', storeKey('changes'), relay)) < tonumber(acknowledgedChange)
end

-- Releases the claims of a relay, or only its claim of that number; at most about `most` envelopes. An
-- envelope of an unfinished import job waits for the relay that adopts the job; others are requeued.
-- Returns how many envelopes were released.
local function releaseClaims(lane, relay, most, claim)
  local function isIncluded(owner)
    if claim then return owner == relay .. '/' .. claim end
    return owner and string.sub(owner, 1, #relay + 1) == relay .. '/'
  end
  local claimed = laneKey(lane, 'claimed')
  local cursor, seqs, released = '0', {}, 0
  repeat
    local step = redis.call('HSCAN', claimed, cursor, 'COUNT', 1000)
    cursor = step[1]
    for index = 1, #step[2], 2 do
      if isIncluded(step[2][index + 1]) then seqs[#seqs + 1] = step[2][index] end
    end
  until cursor == '0' or #seqs >= most
  for _, seq in ipairs(seqs) do
    -- HSCAN may return a field twice.
    if isIncluded(redis.call('HGET', claimed, seq)) then
      released = released + 1
      local attemptState = redis.call('HGET', laneKey(lane, 'tries'), seq)
      local ref = attemptState and cjson.decode(attemptState).ref
      if type(ref) == 'string' and redis.call('HEXISTS', laneKey(lane, 'imports'), ref) == 1 then
        redis.call('HSET', claimed, seq, '-')
        redis.call('SADD', laneKey(lane, 'orphans'), ref)
      else
        redis.call('HDEL', claimed, seq)
        requeue(lane, seq)
      end
    end
  end
  return released
end

local function forgetRelay(relay)
  redis.call('ZREM', storeKey('relays'), relay)
  redis.call('HDEL', storeKey('fences'), relay)
  redis.call('HDEL', storeKey('changes'), relay)
end
