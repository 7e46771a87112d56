--- @include "limiter.lua"
-- Saves the steady time and reads the generation, from which a relay recognises a lost state.
--
-- Returns  the generation, or nil
return redis.call('HGET', meta, 'generation')
