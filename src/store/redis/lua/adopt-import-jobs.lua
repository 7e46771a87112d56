--- @include "lib.lua"
-- Claims the envelopes of import jobs whose relay is gone, so that this relay polls the jobs.
--
-- ARGV     [1] time stamp; [2] relay; [3] number of the claim; [4] lane; last two: relay and change
-- Returns  {jobs, store state}; a job is {id, JSON {delivery, seqs}, envelopes as in claim.lua}
local now = readNow(ARGV[1])
local owner, lane = ARGV[2] .. '/' .. ARGV[3], ARGV[4]
allowWritesWhenFull()
recordChange()
local jobs = {}
if not mayClaim(ARGV[2], ARGV[3]) then return { jobs, readStoreState(now) } end
for _, ref in ipairs(redis.call('SMEMBERS', laneKey(lane, 'orphans'))) do
  redis.call('SREM', laneKey(lane, 'orphans'), ref)
  local text = redis.call('HGET', laneKey(lane, 'imports'), ref)
  local envelopes = {}
  for _, seq in ipairs(text and cjson.decode(text).seqs or {}) do
    local isOrphan = redis.call('HGET', laneKey(lane, 'claimed'), seq) == '-'
    local envelope = isOrphan and readEnvelope(lane, seq)
    if envelope then
      redis.call('HSET', laneKey(lane, 'claimed'), seq, owner)
      local last = #envelopes
      envelopes[last + 1], envelopes[last + 2] = 0, seq
      envelopes[last + 3] = redis.call('HGET', laneKey(lane, 'tries'), seq) or ''
      envelopes[last + 4], envelopes[last + 5] = envelope.m, envelope.payload
    end
  end
  if #envelopes > 0 then jobs[#jobs + 1] = { ref, text, envelopes } end
end
return { jobs, readStoreState(now) }
