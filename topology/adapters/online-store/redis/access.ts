/** Commands that the store gives itself or in its scripts, as Redis's ACL names them. */
export const STORE_COMMANDS: readonly string[] = [
  'get',
  'mget',
  'set',
  'del',
  'exists',
  'pexpire',
  'persist',
  'hget',
  'hgetall',
  'hmget',
  'hset',
  'hdel',
  'hkeys',
  'hlen',
  'hvals',
  'evalsha',
  'script|load',
  'info',
  'client|setname',
]

/** What it needs in a cluster as well. */
export const CLUSTER_COMMANDS: readonly string[] = ['cluster|slots', 'asking']

/** What `headwater doctor` asks for beside that; without it, it says what it could not see. */
export const DOCTOR_COMMANDS: readonly string[] = ['config|get', 'cluster|info', 'time', 'acl|whoami', 'acl|dryrun']

/** The least rights of a user of this namespace, as the rules of `ACL SETUSER`. */
export function aclRules(namespace: string, clustered: boolean): readonly string[] {
  const commands = [...STORE_COMMANDS, ...(clustered ? CLUSTER_COMMANDS : []), ...DOCTOR_COMMANDS]
  return ['resetkeys', 'resetchannels', `~hw:${namespace}:*`, '-@all', ...commands.map(command => `+${command}`)]
}
