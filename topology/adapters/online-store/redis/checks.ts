import type { Clock } from '../../../ports/clock.ts'
import type { Finding } from '../../../ports/finding.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import { CLUSTER_COMMANDS, STORE_COMMANDS, aclRules } from './access.ts'
import type { Node, RedisConnectionOptions } from './connection.ts'
import { keyNames, slotOf } from './layout.ts'
import { openRouter } from './router.ts'
import type { Router } from './router.ts'
import { DOCUMENT } from './scripts.ts'

/** What a look at Redis needs. */
export interface RedisCheckOptions {
  readonly connection: RedisConnectionOptions
  readonly namespace: string
  readonly clock: Clock
}

const MIN_VERSION = 7
const MAX_CLOCK_DIFFERENCE_MS = 2_000
const FULL_SHARE = 0.8
const SLOTS = '16384'
const QUIET: Telemetry = { count: () => {}, gauge: () => {}, observeMs: () => {}, log: () => {} }

const ok = (check: string, message: string): Finding => ({ check, status: 'ok', message, remedy: '' })
const warn = (check: string, message: string, remedy: string): Finding => ({ check, status: 'warn', message, remedy })
const fail = (check: string, message: string, remedy: string): Finding => ({ check, status: 'fail', message, remedy })

/** One server as it describes itself. */
interface Server {
  readonly node: Node
  readonly info: ReadonlyMap<string, string>
  /** A setting; null where the user may not see it. */
  setting(name: string): Promise<string | null>
}

/**
 * Looks at whether Redis keeps what the online store builds on, at each server of it. Errors never leave it: a server
 * that cannot be reached or a question that is not permitted is a finding.
 */
export async function checkRedis(options: RedisCheckOptions): Promise<readonly Finding[]> {
  let router: Router
  try {
    router = await openRouter(options.connection, QUIET)
  } catch (error) {
    return [fail('connection', message(error), 'the online store cannot be used before this is put right')]
  }
  try {
    const findings: Finding[] = []
    for (const node of router.nodes()) {
      const found = await guarded('server', () => checkServer(options, node))
      findings.push(...found.map(each => (router.clustered ? at(node, each) : each)))
    }
    findings.push(...(await guarded('cluster', () => checkCluster(router))))
    findings.push(...(await guarded('permissions', () => checkPermissions(options, router))))
    findings.push(...(await guarded('scripts', () => checkScripts(options, router))))
    return findings
  } finally {
    await router.close()
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function at(node: Node, finding: Finding): Finding {
  return { ...finding, message: `${node.address}: ${finding.message}` }
}

async function guarded(check: string, look: () => Promise<readonly Finding[]>): Promise<readonly Finding[]> {
  try {
    return await look()
  } catch (error) {
    return [fail(check, message(error), 'look into the log of Redis')]
  }
}

async function checkServer(options: RedisCheckOptions, node: Node): Promise<readonly Finding[]> {
  const sentAtMs = options.clock.nowMs()
  const time = await allowed(() => node.client.time())
  const answeredAtMs = options.clock.nowMs()
  const text = await allowed(() => node.client.info())
  if (text === null) {
    return [warn('server', 'this user may not call INFO, so little can be said about the server', 'grant +info')]
  }
  const info = new Map(
    text.split('\r\n').map(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)] as const),
  )
  const server: Server = {
    node,
    info,
    setting: async name => {
      const pair = await allowed(() => node.client.config('GET', name))
      return pair?.[1] ?? (pair === null ? null : '')
    },
  }
  return [
    checkVersion(server),
    checkRole(server),
    checkMode(server, options.connection.mode),
    checkEviction(server),
    checkMemory(server),
    await checkPersistence(server),
    await checkReplication(server),
    checkTime(time, sentAtMs, answeredAtMs),
  ]
}

/** The answer, or null where the user may not ask. */
async function allowed<T>(ask: () => Promise<T>): Promise<T | null> {
  try {
    return await ask()
  } catch (error) {
    if (message(error).startsWith('NOPERM')) return null
    throw error
  }
}

function number(server: Server, field: string): number {
  return Number(server.info.get(field) ?? 0)
}

function checkVersion({ info }: Server): Finding {
  const version = info.get('redis_version') ?? 'unknown'
  return Number(version.split('.')[0]) >= MIN_VERSION
    ? ok('version', `Redis ${version}`)
    : fail('version', `Redis ${version} has no script flags`, `upgrade to Redis ${MIN_VERSION}.0 or later`)
}

function checkRole({ info }: Server): Finding {
  return info.get('role') === 'master'
    ? ok('role', 'this is a primary')
    : fail('role', 'this is a replica: nothing can be written to it', 'set onlineStore.addresses to the primary')
}

function checkMode({ info }: Server, mode: RedisConnectionOptions['mode']): Finding {
  const clustered = info.get('redis_mode') === 'cluster'
  if (clustered === (mode === 'cluster')) return ok('mode', `onlineStore.mode ${mode} fits the server`)
  const wanted = clustered ? 'cluster' : 'single or sentinel'
  return fail(
    'mode',
    `onlineStore.mode is ${mode}, the server is ${clustered ? '' : 'not '}part of a cluster`,
    `set it to ${wanted}`,
  )
}

function checkEviction(server: Server): Finding {
  const policy = server.info.get('maxmemory_policy') ?? 'unknown'
  const change = 'set maxmemory-policy to noeviction ("CONFIG SET maxmemory-policy noeviction", and in redis.conf)'
  if (policy === 'noeviction') return ok('eviction', 'maxmemory-policy is noeviction')
  if (number(server, 'maxmemory') === 0) {
    return warn('eviction', `maxmemory-policy is ${policy}: state would be thrown away once maxmemory is set`, change)
  }
  return fail(
    'eviction',
    `maxmemory-policy is ${policy}: Redis throws state away when memory is short, and an entity without state counts as new`,
    change,
  )
}

function checkMemory(server: Server): Finding {
  const used = number(server, 'used_memory')
  const limit = number(server, 'maxmemory')
  const total = limit > 0 ? limit : number(server, 'total_system_memory')
  const mib = (bytes: number): string => `${Math.round(bytes / 1_048_576)} MiB`
  const said = `${mib(used)} of ${mib(total)} ${limit > 0 ? '(maxmemory)' : "(the machine's memory; maxmemory is not set)"} are used`
  return total > 0 && used / total >= FULL_SHARE
    ? warn(
        'memory',
        `${said}; when none is left, writes are refused and features go stale`,
        'raise maxmemory, or give the cluster more nodes',
      )
    : ok('memory', said)
}

async function checkPersistence(server: Server): Promise<Finding> {
  const { info } = server
  const failed = ['rdb_last_bgsave_status', 'aof_last_write_status', 'aof_last_bgrewrite_status'].find(
    field => (info.get(field) ?? 'ok') !== 'ok',
  )
  if (failed !== undefined) {
    return fail(
      'persistence',
      `${failed} is ${info.get(failed)}: Redis may refuse writes`,
      "look into Redis's log; is its disk full?",
    )
  }
  if (info.get('aof_enabled') === '1') return ok('persistence', 'appendonly is on')
  const save = await server.setting('save')
  const change = 'set appendonly to yes'
  if (save === null)
    return warn('persistence', 'appendonly is off, and this user may not see whether snapshots are made', change)
  return save === ''
    ? warn('persistence', 'nothing is kept on disk: after a restart the state is empty and must be rebuilt', change)
    : warn(
        'persistence',
        `only snapshots are kept (save ${save}): after a crash, work since the last one is done again`,
        change,
      )
}

async function checkReplication(server: Server): Promise<Finding> {
  const replicas = number(server, 'connected_slaves')
  if (replicas === 0) {
    const why = 'no replica: while this server is down, nothing is served from it'
    return warn('replication', why, 'add a replica, with sentinels or in a cluster')
  }
  const behind = Number(/lag=(\d+)/.exec(server.info.get('slave0') ?? '')?.[1] ?? 0)
  const needed = await server.setting('min-replicas-to-write')
  const said = `${replicas} replica${replicas === 1 ? '' : 's'}, the first ${behind} s behind`
  return ok('replication', needed === null ? said : `${said}; min-replicas-to-write ${needed}`)
}

function checkTime(time: unknown, sentAtMs: number, answeredAtMs: number): Finding {
  if (!Array.isArray(time)) return warn('clock', 'this user may not call TIME', 'grant +time')
  const server = Number(time[0]) * 1_000 + Number(time[1]) / 1_000
  const difference = server > answeredAtMs ? server - answeredAtMs : Math.min(0, server - sentAtMs)
  const said = `the server's clock and this one differ by ${Math.abs(Math.round(difference))} ms`
  return Math.abs(difference) > MAX_CLOCK_DIFFERENCE_MS
    ? warn('clock', `${said}: sections with a time to live end early or late`, 'synchronise the clocks (NTP)')
    : ok('clock', said)
}

async function checkCluster(router: Router): Promise<readonly Finding[]> {
  const [node] = router.nodes()
  if (!router.clustered || node === undefined) return []
  const text = await allowed(() => node.client.cluster('INFO'))
  if (text === null) return [warn('cluster', 'this user may not call CLUSTER INFO', 'grant +cluster|info')]
  const field = (name: string): string => new RegExp(`^${name}:(\\w+)`, 'm').exec(text)?.[1] ?? ''
  const [state, assigned, served] = [field('cluster_state'), field('cluster_slots_assigned'), field('cluster_slots_ok')]
  return [
    state === 'ok' && assigned === SLOTS && served === SLOTS
      ? ok('cluster', `all ${SLOTS} slots are served by ${router.nodes().length} primaries`)
      : fail(
          'cluster',
          `cluster_state is ${state}; of ${SLOTS} slots ${assigned} are assigned and ${served} served`,
          'run "redis-cli --cluster check" and "--cluster fix"',
        ),
  ]
}

/** Arguments with which each command can be asked about, or tried on a key that nothing uses. */
function samples(key: string): Readonly<Record<string, readonly string[]>> {
  const hash = ['f', 'v']
  return {
    get: [key],
    mget: [key],
    set: [key, 'v'],
    del: [key],
    exists: [key],
    pexpire: [key, '1'],
    persist: [key],
    hget: [key, 'f'],
    hgetall: [key],
    hmget: [key, 'f'],
    hset: [key, ...hash],
    hdel: [key, 'f'],
    hkeys: [key],
    hlen: [key],
    hvals: [key],
    evalsha: [DOCUMENT.sha, '1', key, '1', '', ''],
    'script|load': ['return 1'],
    info: ['server'],
    'client|setname': ['headwater'],
    'cluster|slots': [],
    asking: [],
  }
}

async function checkPermissions(options: RedisCheckOptions, router: Router): Promise<readonly Finding[]> {
  const scratch = `hw:${options.namespace}:!doctor`
  const slot = slotOf(scratch)
  const wanted = router.clustered ? [...STORE_COMMANDS, ...CLUSTER_COMMANDS] : STORE_COMMANDS
  const arguments_ = samples(scratch)
  const send = (command: string, args: readonly string[]): Promise<unknown> =>
    router.send({ slot, command, keys: 1, args })
  const user = await send('ACL', ['WHOAMI']).then(String, () => null)
  const missing: string[] = []
  for (const command of wanted) {
    const words = [...command.split('|'), ...(arguments_[command] ?? [])]
    const [name = '', ...rest] = words
    const refused = user === null ? null : await dryRun(send, user, words)
    if (refused ?? (await isRefused(send, name, rest))) missing.push(command)
  }
  await send('del', [scratch]).catch(() => undefined)
  const name = user ?? options.connection.username
  if (missing.length === 0) return [ok('permissions', `user ${name || 'default'} may do all that the store needs`)]
  const rules = aclRules(options.namespace, router.clustered).join(' ')
  return [
    fail('permissions', `user ${name} may not ${missing.join(', ')} on ${scratch}`, `ACL SETUSER ${name} ${rules}`),
  ]
}

/** Whether the server would refuse it; null where it may not be asked that. */
async function dryRun(
  send: (command: string, args: readonly string[]) => Promise<unknown>,
  user: string,
  words: readonly string[],
): Promise<boolean | null> {
  try {
    return String(await send('ACL', ['DRYRUN', user, ...words])) !== 'OK'
  } catch {
    return null
  }
}

/** Tries it; an error that is not about permissions says that it was permitted. */
async function isRefused(
  send: (command: string, args: readonly string[]) => Promise<unknown>,
  name: string,
  args: readonly string[],
): Promise<boolean> {
  try {
    await send(name, args)
    return false
  } catch (error) {
    return /NOPERM/.test(message(error))
  }
}

/** Loads and runs a script as the store does, on a key of its own that it removes again. */
async function checkScripts(options: RedisCheckOptions, router: Router): Promise<readonly Finding[]> {
  const key = keyNames(options.namespace).document('doctor')
  const slot = slotOf(key)
  await router.send({ slot, command: 'del', keys: 1, args: [key] })
  const written = await router.send({ slot, command: DOCUMENT, keys: 1, args: [key, '0', '', 'text'] })
  const text = await router.send({ slot, command: 'get', keys: 1, args: [key] })
  await router.send({ slot, command: 'del', keys: 1, args: [key] })
  return written === 1 && String(text) === 'text'
    ? [ok('scripts', 'a script was loaded and run, and what it wrote was read')]
    : [
        fail(
          'scripts',
          'what a script wrote was not read back',
          'is there a proxy in between that does not know scripts?',
        ),
      ]
}
