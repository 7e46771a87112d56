import { factKinds } from '../../model/fact.js';
import { storeLanes } from '../../model/lane.js';
import { toScript as toAnyScript, type Script } from '../../redis/connection.js';
import { steadyTime } from '../../redis/server-time.js';

/**
 * What every script begins with. Layout, under one key prefix that carries the cluster's hash tag;
 * LANE is `events`, `profiles` or `waiting`, a number is an envelope's place in its lane:
 *
 * - `meta`: hash. epoch, version, full, rewrittenRun (`file-rewrite.ts`), next numbers of notes, letters, deliveries and facts, the drain rate, and the time (`server-time.ts`): every ms below is by it.
 * - `account`: hash. What stands for a key of the Klaviyo account (`account.ts`) → the account's id, `-` where Klaviyo does not say, or nothing yet.
 * - `relays`: sorted set. Relay → end of its lease, ms; 0 where others have a part of what it held. `fences`: hash. relay → its last claim that it gave up unheard. `changes`: hash. relay → the number of its last change of what it holds.
 * - `LANE:queue`: stream. `number-0` → m (acceptedAt readyAt key…), p (payload). An entry stays until it is settled.
 * - `LANE:redriven`: hash. number → m, newline, p: what was a dead letter cannot go back into the middle of a stream.
 * - `LANE:redriven-at`: sorted set. number by acceptedAt.
 * - `LANE:stats`: hash. cursor (the last number claimed fresh), count, bytes, ready, readyBytes, and the books.
 * - `LANE:returned`: sorted set. Numbers that can be claimed again.
 * - `LANE:delayed`: sorted set. Numbers by when they are due.
 * - `LANE:claimed`: hash. number → `relay/claim`, or `-` where its import job outlived its relay.
 * - `LANE:tries`: hash. number → JSON {attempts, alone, lastTry, ref}, for what was sent at least once.
 * - `LANE:taken`, `LANE:reserved`: hashes. key → how often. `LANE:waiters`: sorted set of `key number`.
 * - `LANE:imports`: hash. ref → JSON {delivery, seqs}. `LANE:orphans`: set of refs.
 * - `LANE:settled`: sorted set. `from to order merged` by to.
 * - `seen`: hash. key → `number:note:ms`. `seen-log`: list of `note ms key…`.
 * - `letters`: hash. order → JSON, newline, p. `letter-orders`: sorted set. `LANE number` by order.
 * - `deliveries`, `delivery-ranges`: hashes by order. `delivery-orders`: hash. id → order.
 * - `facts`: hash. key → `kind ms value`. `facts:KIND`: sorted set. key by order. `memos`: hash. key → value, and `memo-orders`: sorted set. key by order: facts that an earlier version wrote.
 *
 * Waiting for keys follows key-holds.ts, claiming follows pick.ts: the same rules, within the server.
 */
const contentKeys: readonly string[] = [
  ...['seen', 'seen-log', 'letters', 'letter-orders', 'memos', 'memo-orders'],
  ...['facts', ...factKinds.map((kind) => `facts:${kind}`)],
  ...['deliveries', 'delivery-ranges', 'delivery-orders'],
  ...storeLanes.flatMap((lane) =>
    [
      ...['queue', 'redriven', 'redriven-at', 'stats', 'returned', 'delayed', 'claimed', 'tries'],
      ...['taken', 'reserved', 'waiters', 'imports', 'orphans', 'settled'],
    ].map((name) => `${lane}:${name}`),
  ),
];
export const storeKeys = [
  ...['meta', 'account', 'relays', 'fences', 'changes', 'probe', 'none'],
  ...contentKeys,
].map((name) => `:${name}`);

/** In Lua: the keys that are there only where the buffer is. */
export const contentKeysLua = contentKeys.map((name) => `K .. ':${name}'`).join(', ');

/** Every script of the store begins with it. */
export const libLua = `
local K = KEYS[1]
local lanes = {${storeLanes.map((lane) => `'${lane}'`).join(', ')}}
local factKinds = {${factKinds.map((kind) => `'${kind}'`).join(', ')}}

local function key(lane, name) return K .. ':' .. lane .. ':' .. name end

local function number(value) return tonumber(value or 0) end

${steadyTime}
-- Only a look keeps the time: there is one every moment.
local function toNow(stamp) return math.floor(toSteady(K .. ':meta', stamp).now) end

-- A script that has written something may go on where the memory is full: what is settled frees some.
local function evenWhenFull() redis.call('DEL', K .. ':none') end

local function words(text)
  local all = {}
  for word in string.gmatch(text, '%S+') do all[#all + 1] = word end
  return all
end

-- One command for many: each call of the server costs more than what it does. Lua unpacks so many at most.
local function bulk(command, name, args)
  local replies = {}
  for index = 1, #args, 4000 do
    replies[#replies + 1] = redis.call(command, name, unpack(args, index, math.min(#args, index + 3999)))
  end
  return replies
end

-- The values of many fields, by field; false where there is none.
local function fields(name, list)
  local values = {}
  for index = 1, #list, 4000 do
    local last = math.min(#list, index + 3999)
    local found = redis.call('HMGET', name, unpack(list, index, last))
    for at = index, last do values[list[at]] = found[at - index + 1] end
  end
  return values
end

local function toContent(seq, m, p)
  local all = words(m)
  local keys = {}
  for index = 3, #all do keys[#keys + 1] = all[index] end
  return {seq = seq, m = m, p = p, acceptedAt = all[1], readyAt = all[2], keys = keys, weight = #p + 1}
end

local function content(lane, seq)
  local id = seq .. '-0'
  local found = redis.call('XRANGE', key(lane, 'queue'), id, id)[1]
  if found then return toContent(seq, found[2][2], found[2][4]) end
  local blob = redis.call('HGET', key(lane, 'redriven'), seq)
  if not blob then return nil end
  local cut = string.find(blob, '\\n', 1, true)
  return toContent(seq, string.sub(blob, 1, cut - 1), string.sub(blob, cut + 1))
end

local function count(lane, name, by)
  if by ~= 0 then redis.call('HINCRBY', key(lane, 'stats'), name, by) end
end

-- Can be claimed from now on, before what is fresh.
local function giveBack(lane, found)
  redis.call('ZADD', key(lane, 'returned'), found.seq, found.seq)
  count(lane, 'ready', 1)
  count(lane, 'readyBytes', found.weight)
end

local function add(name, field, by)
  local left = redis.call('HINCRBY', name, field, by)
  if left <= 0 then redis.call('HDEL', name, field) end
  return left
end

local function wait(lane, held, found)
  redis.call('ZADD', key(lane, 'waiters'), 0, held .. ' ' .. found.seq)
  for _, each in ipairs(found.keys) do add(key(lane, 'reserved'), each, 1) end
end

local function release(lane, keys)
  local chain, less = {}, {}
  local taken = fields(key(lane, 'taken'), keys)
  for _, each in ipairs(keys) do taken[each] = number(taken[each]) - 1 end
  for each, left in pairs(taken) do
    if left <= 0 then chain[#chain + 1] = each
    else
      less[#less + 1] = each
      less[#less + 1] = left
    end
  end
  bulk('HDEL', key(lane, 'taken'), chain)
  bulk('HSET', key(lane, 'taken'), less)
  local waiters = key(lane, 'waiters')
  if redis.call('EXISTS', waiters) == 0 then return end
  while #chain > 0 do
    local each = table.remove(chain)
    -- A key has neither a space nor what sorts below one.
    local found = redis.call('ZRANGEBYLEX', waiters, '[' .. each .. ' ', '(' .. each .. '!')
    for _, member in ipairs(found) do
      redis.call('ZREM', waiters, member)
      local waiter = content(lane, string.match(member, ' (%d+)$'))
      if waiter then
        for _, held in ipairs(waiter.keys) do
          add(key(lane, 'reserved'), held, -1)
          chain[#chain + 1] = held
        end
        giveBack(lane, waiter)
      end
    end
  end
end

-- Ends a claim or a delay without a settlement: it can be claimed again, and so can who waited for its keys.
local function free(lane, seq)
  local found = content(lane, seq)
  if not found then return end
  giveBack(lane, found)
  release(lane, found.keys)
end

-- What is due can be claimed; it held its keys meanwhile, so that nothing overtook it.
local function wakeDue(lane, now)
  local due = redis.call('ZRANGEBYSCORE', key(lane, 'delayed'), '-inf', now, 'LIMIT', 0, 2000)
  for _, seq in ipairs(due) do
    redis.call('ZREM', key(lane, 'delayed'), seq)
    free(lane, seq)
  end
end

local function held()
  local all, bytes = 0, 0
  for _, lane in ipairs(lanes) do
    local stats = redis.call('HMGET', key(lane, 'stats'), 'count', 'bytes')
    all = all + number(stats[1])
    bytes = bytes + number(stats[2])
  end
  return all, bytes
end

local function isBelow(share, maxCount, maxBytes)
  local all, bytes = held()
  return all <= maxCount * share and bytes <= maxBytes * share
end

local statNames = {'count', 'bytes', 'ready', 'readyBytes', 'accepted', 'delivered', 'merged', 'buried', 'letters', 'cursor'}

local function viewLane(lane)
  local stats = redis.call('HMGET', key(lane, 'stats'), unpack(statNames))
  local view = {}
  for index = 1, 9 do view[index] = number(stats[index]) end
  local cursor = number(stats[10])
  local oldest = redis.call('XRANGE', key(lane, 'queue'), '-', '+', 'COUNT', 1)[1]
  local oldestAt = oldest and tonumber(words(oldest[2][2])[2])
  local redriven = redis.call('ZRANGE', key(lane, 'redriven-at'), 0, 0)[1]
  redriven = redriven and content(lane, redriven)
  if redriven and (not oldestAt or tonumber(redriven.readyAt) < oldestAt) then oldestAt = tonumber(redriven.readyAt) end
  view[10] = oldestAt or -1
  local readyAt = -1
  if view[3] > 0 then
    local back = redis.call('ZRANGE', key(lane, 'returned'), 0, 0)[1]
    local found = back and tonumber(back) <= cursor and content(lane, back)
    if not found then
      local fresh = redis.call('XRANGE', key(lane, 'queue'), '(' .. cursor .. '-0', '+', 'COUNT', 1)[1]
      found = fresh and toContent(0, fresh[2][2], '') or back and content(lane, back)
    end
    if found then readyAt = tonumber(found.readyAt) end
  end
  view[11] = readyAt
  local due = redis.call('ZRANGE', key(lane, 'delayed'), 0, 0, 'WITHSCORES')[2]
  view[12] = due and tonumber(due) or -1
  view[13] = redis.call('SCARD', key(lane, 'orphans'))
  return view
end

-- How things stand, at the end of every script.
local function view(now)
  local meta = redis.call('HMGET', K .. ':meta', 'epoch', 'full', 'drainedCount', 'drainedBytes', 'drainedAt')
  return {
    now, meta[1] or '', meta[2] or '', meta[3] or '0', meta[4] or '0', meta[5] or '0',
    ${storeLanes.map((lane) => `viewLane('${lane}')`).join(', ')},
  }
end

-- Every relay numbers its claims. A server that hung may run one long after its relay stopped
-- waiting for it, and gave it up, or after the relay was taken for dead.
local function isAlive(relay)
  local ends = redis.call('ZSCORE', K .. ':relays', relay)
  return ends and tonumber(ends) > 0
end
local function mayClaim(relay, claim)
  if not isAlive(relay) then return false end
  return tonumber(claim) > number(redis.call('HGET', K .. ':fences', relay))
end

-- Every relay numbers what changes its claims. A server that has less than the number that the relay had an
-- answer to is a replica that took the place of another one, and has lost some of it.
local function noteChange()
  local relay, change = ARGV[#ARGV - 1], tonumber(ARGV[#ARGV])
  if not isAlive(relay) or change < number(redis.call('HGET', K .. ':changes', relay)) then return end
  redis.call('HSET', K .. ':changes', relay, change)
end
local function hasLostChanges(relay, change)
  return number(redis.call('HGET', K .. ':changes', relay)) < tonumber(change)
end

local function isClaimOf(owner, relay) return owner and string.sub(owner, 1, #relay + 1) == relay .. '/' end

-- What was claimed goes back, or waits for whoever takes over its import job. Returns how many.
-- All of a relay's claims, or the one of that number.
local function giveUpClaims(lane, relay, most, claim)
  local function isMeant(owner)
    if claim then return owner == relay .. '/' .. claim end
    return isClaimOf(owner, relay)
  end
  local claimed = key(lane, 'claimed')
  local cursor, done = '0', 0
  local mine = {}
  repeat
    local step = redis.call('HSCAN', claimed, cursor, 'COUNT', 1000)
    cursor = step[1]
    for index = 1, #step[2], 2 do
      if isMeant(step[2][index + 1]) then mine[#mine + 1] = step[2][index] end
    end
  until cursor == '0' or #mine >= most
  for _, seq in ipairs(mine) do
    -- HSCAN may show one twice.
    if isMeant(redis.call('HGET', claimed, seq)) then
      done = done + 1
      local tried = redis.call('HGET', key(lane, 'tries'), seq)
      local ref = tried and cjson.decode(tried).ref
      if type(ref) == 'string' and redis.call('HEXISTS', key(lane, 'imports'), ref) == 1 then
        redis.call('HSET', claimed, seq, '-')
        redis.call('SADD', key(lane, 'orphans'), ref)
      else
        redis.call('HDEL', claimed, seq)
        free(lane, seq)
      end
    end
  end
  return done
end
`;

/** A script of the store. `lua` begins with the prelude. */
export const toScript = (name: string, lua: string): Script => toAnyScript(name, storeKeys, lua);
