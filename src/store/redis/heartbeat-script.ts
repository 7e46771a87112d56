import { contentKeysLua, libLua, toScript } from './lib-script.js';
import { rebuildLua } from './rebuild-lua.js';

/** What is taken over in one look: a look must not hold up everybody else. */
const mostTakenOver = 5000;

/**
 * A relay of an earlier version does not have the lane of what waits: it takes over nothing of it from a
 * relay that is gone, and forgets that relay. A relay that starts gives back what such relays held.
 */
const freeStrays = `
local function freeStrays(lane)
  local cursor, gone = '0', {}
  repeat
    local step = redis.call('HSCAN', key(lane, 'claimed'), cursor, 'COUNT', 1000)
    cursor = step[1]
    for index = 2, #step[2], 2 do
      local owner = string.match(step[2][index], '^(.*)/')
      if owner and gone[owner] == nil then gone[owner] = not redis.call('ZSCORE', K .. ':relays', owner) end
    end
  until cursor == '0'
  for owner, isGone in pairs(gone) do
    if isGone then giveUpClaims(lane, owner, ${mostTakenOver}) end
  end
end
`;

/**
 * now, relay, lease ms, an epoch for a buffer that is new, what stands for the account's key, whether
 * leases that ran out are to be believed, whether the relay's name is new, the epoch that the relay knows or '',
 * its last change that was answered →
 * {why nothing can be written or '', 1 where this relay's lease had run out and 2 where the server lost a change, relays whose claims were taken over, view}. Renews the
 * lease; what a relay held whose lease ran out goes back to all. A name whose lease has run out is never
 * used again, so that a relay cannot miss that it lost what it held, even where this answer is lost.
 *
 * Where the server lost a change, claims are back that this relay settled, and some that it holds are gone.
 * What it held until then is free when the lease under that name runs out.
 */
export const heartbeatScript = toScript(
  'look',
  `${libLua}
${rebuildLua}${freeStrays}
local time = toSteady(K .. ':meta', ARGV[1])
local now = math.floor(time.now)
local relay, leaseMs = ARGV[2], tonumber(ARGV[3])
local accountKey, mayTakeOver, isNew = ARGV[5], ARGV[6] == '1', ARGV[7] == '1'
local meta, relays, account = K .. ':meta', K .. ':relays', K .. ':account'
if redis.call('HEXISTS', account, accountKey) == 0 and redis.call('EXISTS', account) == 1 then
  return redis.error_reply('RELAY_ACCOUNT the prefix is used with another key')
end
-- The first write of a script is refused where the memory is full.
local probe = redis.pcall('SET', K .. ':probe', '1')
local trouble = type(probe) == 'table' and probe.err or ''
evenWhenFull()

keepSteady(meta, time)

local version = redis.call('HGET', meta, 'version')
if version and tonumber(version) > 1 then return redis.error_reply('RELAY_NEWER the buffer was written by a newer relay, in format ' .. version) end
if redis.call('EXISTS', account) == 0 then redis.call('HSET', account, accountKey, '') end
local tear = nil
if redis.call('HEXISTS', meta, 'epoch') == 0 then
  local epoch = ARGV[4]
  if redis.call('EXISTS', ${contentKeysLua}) > 0 then
    -- Not a new buffer: numbers go on, and so does the epoch where it is known.
    tear = '"meta" is not there, and others are'
    if ARGV[8] ~= '' then epoch = ARGV[8] end
  end
  redis.call('HSET', meta, 'epoch', epoch, 'version', 1)
end
for _, lane in ipairs(lanes) do
  local torn = rebuild(lane, tear, now)
  if torn then trouble = torn end
end

local isKnown = isAlive(relay)
if not isKnown and not isNew then return {trouble, 1, {}, view(now)} end
if hasLostChanges(relay, ARGV[9]) then return {trouble, 2, {}, view(now)} end
redis.call('ZADD', relays, now + leaseMs, relay)
local gone = {}
local left = ${mostTakenOver}
for _, other in ipairs(redis.call('ZRANGEBYSCORE', relays, '-inf', mayTakeOver and now or 0)) do
  if other ~= relay and left > 0 then
    for _, lane in ipairs(lanes) do left = left - giveUpClaims(lane, other, left) end
    if left > 0 then
      redis.call('ZREM', relays, other)
      redis.call('HDEL', K .. ':fences', other)
      redis.call('HDEL', K .. ':changes', other)
      gone[#gone + 1] = other
    else
      -- The next look takes over the rest. A score of 0 ends the lease, so the relay cannot use this name again.
      redis.call('ZADD', relays, 0, other)
    end
  end
end
if isNew then freeStrays('waiting') end
for _, lane in ipairs(lanes) do wakeDue(lane, now) end
return {trouble, 0, gone, view(now)}
`,
);

/** now, relay → {view}. Gives back what it holds, and its place. */
export const leaveScript = toScript(
  'leave',
  `${libLua}
local now = toNow(ARGV[1])
evenWhenFull()
for _, lane in ipairs(lanes) do giveUpClaims(lane, ARGV[2], 1e9) end
redis.call('ZREM', K .. ':relays', ARGV[2])
redis.call('HDEL', K .. ':fences', ARGV[2])
redis.call('HDEL', K .. ':changes', ARGV[2])
return {view(now)}
`,
);

/** now, relay, numbers of claims, the change → {view}. Gives back claims of which the relay never heard. */
export const giveUpScript = toScript(
  'give-up',
  `${libLua}
local now = toNow(ARGV[1])
evenWhenFull()
noteChange()
for index = 3, #ARGV - 2 do
  local fence = number(redis.call('HGET', K .. ':fences', ARGV[2]))
  redis.call('HSET', K .. ':fences', ARGV[2], math.max(fence, tonumber(ARGV[index])))
  for _, lane in ipairs(lanes) do giveUpClaims(lane, ARGV[2], 1e9, ARGV[index]) end
end
return {view(now)}
`,
);

/**
 * now, relay, the claim's number, lane, the change → {imports, view}; imports is a list of {ref, JSON, envelopes as in a claim}.
 * Takes over import jobs whose relay is gone.
 */
export const adoptScript = toScript(
  'adopt',
  `${libLua}
local now = toNow(ARGV[1])
local owner, lane = ARGV[2] .. '/' .. ARGV[3], ARGV[4]
evenWhenFull()
noteChange()
local imports = {}
if not mayClaim(ARGV[2], ARGV[3]) then return {imports, view(now)} end
for _, ref in ipairs(redis.call('SMEMBERS', key(lane, 'orphans'))) do
  redis.call('SREM', key(lane, 'orphans'), ref)
  local text = redis.call('HGET', key(lane, 'imports'), ref)
  local envelopes = {}
  for _, seq in ipairs(text and cjson.decode(text).seqs or {}) do
    local found = redis.call('HGET', key(lane, 'claimed'), seq) == '-' and content(lane, seq)
    if found then
      redis.call('HSET', key(lane, 'claimed'), seq, owner)
      local at = #envelopes
      envelopes[at + 1], envelopes[at + 2] = 0, seq
      envelopes[at + 3], envelopes[at + 4], envelopes[at + 5] = redis.call('HGET', key(lane, 'tries'), seq) or '', found.m, found.p
    end
  end
  if #envelopes > 0 then imports[#imports + 1] = {ref, text, envelopes} end
end
return {imports, view(now)}
`,
);
