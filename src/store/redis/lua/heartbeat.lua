--- @include "lib.lua"
--- @include "rebuild.lua"
-- The heartbeat of a relay: renews its lease, releases the claims of relays whose lease has ended, creates
-- or repairs the store, and makes claimable what is due.
--
-- A relay whose lease has ended cannot renew it: it must use a new name. So it cannot overlook that it lost
-- its claims, even if the reply is lost. The same holds if the server lost changes of its claims (a replica
-- became the primary): then some envelopes that the relay has settled are claimed again, and some that it
-- holds are not. Claims under the old name are released when that lease ends.
--
-- ARGV     [1] time stamp; [2] relay; [3] lease in ms; [4] an epoch for a new store; [5] digest of the API
--          key (account.ts); [6] 1 if ended leases may be believed; [7] 1 if the relay's name is new; [8] the
--          epoch that the relay has seen, or ''; [9] the relay's last acknowledged change
-- Returns  {why nothing can be written or '', lease result, list of the relays whose claims were
--          released, store state}; the lease result is 0 for renewed, 1 if the lease had ended, 2 if the
--          server lost a change
-- Errors   RELAY_ACCOUNT if the store is of another key; RELAY_NEWER if a newer relay wrote it

-- Bound of the envelopes that one heartbeat releases, so that the server can serve other commands.
local maxReleased = 5000

-- A relay of an earlier version has no lane `waiting`: it releases nothing of it when another relay's lease
-- ends, and removes that relay. So a relay releases such claims when it starts.
local function releaseClaimsOfRemovedRelays(lane)
  local cursor, isRemoved = '0', {}
  repeat
    local step = redis.call('HSCAN', laneKey(lane, 'claimed'), cursor, 'COUNT', 1000)
    cursor = step[1]
    for index = 2, #step[2], 2 do
      local relay = string.match(step[2][index], '^(.*)/')
      if relay and isRemoved[relay] == nil then
        isRemoved[relay] = not redis.call('ZSCORE', storeKey('relays'), relay)
      end
    end
  until cursor == '0'
  for relay, removed in pairs(isRemoved) do
    if removed then releaseClaims(lane, relay, maxReleased) end
  end
end

local time = readSteadyTime(storeKey('meta'), ARGV[1])
local now = math.floor(time.now)
local relay, leaseMs = ARGV[2], tonumber(ARGV[3])
local accountKey, mayTakeOver, isNew = ARGV[5], ARGV[6] == '1', ARGV[7] == '1'
local meta, relays, account = storeKey('meta'), storeKey('relays'), storeKey('account')
if redis.call('HEXISTS', account, accountKey) == 0 and redis.call('EXISTS', account) == 1 then
  return redis.error_reply('RELAY_ACCOUNT the prefix is used with another key')
end
-- The first write of a script is rejected if the memory is full: the reply becomes the reason to wait.
local probe = redis.pcall('SET', storeKey('probe'), '1')
local problem = type(probe) == 'table' and probe.err or ''
allowWritesWhenFull()

saveSteadyTime(meta, time)

local version = redis.call('HGET', meta, 'version')
if version and tonumber(version) > 1 then
  return redis.error_reply('RELAY_NEWER the buffer was written by a newer relay, in format ' .. version)
end
if redis.call('EXISTS', account) == 0 then redis.call('HSET', account, accountKey, '') end

local function hasContent()
  local names = {}
  for index, name in ipairs(constants.contentKeys) do
    names[index] = prefix .. name
  end
  return redis.call('EXISTS', unpack(names)) > 0
end

local contradiction = nil
if redis.call('HEXISTS', meta, 'epoch') == 0 then
  local epoch = ARGV[4]
  if hasContent() then
    -- Not a new store: its numbers continue, and so does its epoch if the relay has seen it.
    contradiction = 'the key "meta" is missing, and others are present'
    if ARGV[8] ~= '' then epoch = ARGV[8] end
  end
  redis.call('HSET', meta, 'epoch', epoch, 'version', 1)
end
contradiction = contradiction or findContradiction()
for _, lane in ipairs(lanes) do
  problem = rebuild(lane, contradiction, now) or problem
end

if not hasLease(relay) and not isNew then return { problem, 1, {}, readStoreState(now) } end
if hasLostChanges(relay, ARGV[9]) then return { problem, 2, {}, readStoreState(now) } end
redis.call('ZADD', relays, now + leaseMs, relay)
local released = {}
local left = maxReleased
for _, other in ipairs(redis.call('ZRANGEBYSCORE', relays, '-inf', mayTakeOver and now or 0)) do
  if other ~= relay and left > 0 then
    for _, lane in ipairs(lanes) do
      left = left - releaseClaims(lane, other, left)
    end
    if left > 0 then
      forgetRelay(other)
      released[#released + 1] = other
    else
      -- The next heartbeat releases the rest. A score of 0 ends the lease, so that the relay cannot use
      -- this name again.
      redis.call('ZADD', relays, 0, other)
    end
  end
end
if isNew then releaseClaimsOfRemovedRelays('waiting') end
for _, lane in ipairs(lanes) do
  requeueDue(lane, now)
end
return { problem, 0, released, readStoreState(now) }
