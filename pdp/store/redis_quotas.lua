-- Stores changes of quotas if nothing of what they were worked out from has
-- changed, or answers what there is now.
--
-- KEYS: the index, the expiries, and then every key that is named below.
-- ARGV: now and how many to prune; how many keys are compared, and their
--       values, "" where there was none; then for each change
--       "set" | "new" | "del", the number of its key, value, milliseconds to
--       live, member of the index, when that expires.
local index, expiries = KEYS[1], KEYS[2]
local now, prune, compared = ARGV[1], ARGV[2], tonumber(ARGV[3])

local values, same = {}, true
for i = 1, compared do
	values[i] = redis.call('GET', KEYS[2 + i])
	same = same and (values[i] or '') == ARGV[3 + i]
end
if not same then
	return values
end

for i = 4 + compared, #ARGV, 6 do
	local change, key, value, life, member, expires = ARGV[i], KEYS[2 + tonumber(ARGV[i + 1])], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
	if change == 'set' then
		redis.call('SET', key, value, 'PX', life)
		redis.call('ZADD', index, 0, member)
		redis.call('ZADD', expiries, expires, member)
	elseif change == 'new' then
		redis.call('SET', key, value, 'PX', life, 'NX')
	else
		redis.call('DEL', key)
	end
end

-- Keys expire by themselves; their members are taken out here.
for _, member in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', '(' .. now, 'LIMIT', 0, prune)) do
	redis.call('ZREM', index, member)
	redis.call('ZREM', expiries, member)
end
return 1
