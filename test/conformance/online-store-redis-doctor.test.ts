import { expect, it } from 'vitest'
import { checkRedis } from '../../topology/adapters/online-store/redis/checks.ts'
import { aclRules } from '../../topology/adapters/online-store/redis/access.ts'
import type { RedisConnectionOptions } from '../../topology/adapters/online-store/redis/connection.ts'
import type { Finding } from '../../topology/ports/finding.ts'
import { systemClock } from '../../services/clock.ts'
import { describeWithRedis } from '../servers.ts'
import { headwater } from '../system/headwater.ts'
import { connectionTo } from './online-store-redis.ts'

const look = async (connection: RedisConnectionOptions, nowMs = systemClock.nowMs): Promise<readonly Finding[]> =>
  await checkRedis({ connection, namespace: 'shop', clock: { ...systemClock, nowMs } })
const byCheck = (findings: readonly Finding[]): Record<string, Finding['status']> =>
  Object.fromEntries(findings.map(({ check, status }) => [check, status]))
const of = (findings: readonly Finding[], check: string): Finding | undefined =>
  findings.find(finding => finding.check === check)

describeWithRedis('headwater doctor', servers => {
  it('finds nothing wrong with a server that keeps its writes and has a replica', async () => {
    const { primary } = await servers.startPair({ appendonly: 'everysec' })
    const findings = await look(connectionTo([`${primary.host}:${primary.port}`]))
    expect(findings.filter(({ status }) => status !== 'ok')).toEqual([])
    expect(findings.map(({ check }) => check)).toEqual([
      'version',
      'role',
      'mode',
      'eviction',
      'memory',
      'persistence',
      'replication',
      'clock',
      'permissions',
      'scripts',
    ])
    // Nothing is left behind.
    expect(await primary.command('DBSIZE')).toBe(0)
  })

  it('fails a server that evicts, and warns where nothing is kept, nothing copied, and memory is short', async () => {
    const server = await servers.start({ args: ['--maxmemory', '1mb', '--maxmemory-policy', 'allkeys-lru'] })
    const findings = await look(connectionTo([`${server.host}:${server.port}`]), () => systemClock.nowMs() + 60_000)
    expect(byCheck(findings)).toMatchObject({
      eviction: 'fail',
      memory: 'warn',
      persistence: 'warn',
      replication: 'warn',
      clock: 'warn',
      permissions: 'ok',
    })
    expect(of(findings, 'eviction')?.remedy).toContain('noeviction')
    expect(of(findings, 'clock')?.message).toMatch(/differ by (59|60)\d{3} ms/)
  })

  it('fails a replica, and a mode that is not the server’s', async () => {
    const { replica } = await servers.startPair()
    const findings = await look(connectionTo([`${replica.host}:${replica.port}`]))
    expect(byCheck(findings)).toMatchObject({ role: 'fail', scripts: 'fail' })
    expect(of(findings, 'role')?.remedy).toContain('primary')
    const asCluster = await look(connectionTo([`${replica.host}:${replica.port}`], { mode: 'cluster' }))
    expect(asCluster).toMatchObject([{ check: 'connection', status: 'fail' }])
    expect(asCluster[0]?.message).toContain('onlineStore.mode')
  })

  it('names the permissions that a user lacks, whether the user may ask about them or not', async () => {
    const rights = (...more: string[]): readonly string[] => [...aclRules('shop', false), ...more]
    const lacking = ['-hset', '-evalsha']
    const server = await servers.start({
      users: [
        { name: 'whole', password: 'p', rules: rights() },
        { name: 'asking', password: 'p', rules: rights(...lacking) },
        { name: 'trying', password: 'p', rules: rights(...lacking, '-acl', '-config', '-time', '-cluster') },
        { name: 'blind', password: 'p', rules: rights('-info') },
        { name: 'elsewhere', password: 'p', rules: aclRules('other', false) },
      ],
    })
    const as = (username: string): Promise<readonly Finding[]> =>
      look(connectionTo([`${server.host}:${server.port}`], { username, password: 'p' }))
    expect(byCheck(await as('whole'))).toMatchObject({ permissions: 'ok', scripts: 'ok' })
    for (const name of ['asking', 'trying']) {
      const finding = of(await as(name), 'permissions')
      expect(finding, name).toMatchObject({
        status: 'fail',
        message: expect.stringContaining('may not hset, evalsha on'),
      })
      expect(finding?.remedy).toContain('~hw:shop:* -@all +get')
    }
    expect(of(await as('blind'), 'server')).toMatchObject({ status: 'warn', remedy: 'grant +info' })
    expect(of(await as('elsewhere'), 'permissions')).toMatchObject({ status: 'fail' })
  })

  it('sees every node of a cluster, and slots that nobody serves', async () => {
    const cluster = await servers.startCluster({ args: ['--cluster-require-full-coverage', 'no'] })
    const connection = connectionTo(cluster.addresses, { mode: 'cluster' })
    const findings = await look(connection)
    expect(of(findings, 'cluster')).toMatchObject({ status: 'ok', message: expect.stringContaining('3 primaries') })
    expect(findings.filter(({ check }) => check === 'version')).toHaveLength(3)
    const single = await look(connectionTo(cluster.addresses))
    expect(of(single, 'mode')).toMatchObject({ status: 'fail', remedy: 'set it to cluster' })
    await cluster.nodes[0]?.command('CLUSTER', 'DELSLOTS', 7)
    expect(of(await look(connection), 'cluster')).toMatchObject({
      status: 'fail',
      message: expect.stringContaining('16383'),
    })
  })

  it('is a command: it exits with 1 where something fails, and prints what to do, or JSON', async () => {
    const server = await servers.start({ args: ['--maxmemory', '64mb', '--maxmemory-policy', 'allkeys-lru'] })
    const set = ['--set', 'onlineStore.kind=redis', '--set', `onlineStore.addresses=${server.host}:${server.port}`]
    const failing = await headwater(['doctor', ...set])
    expect(failing.code).toBe(1)
    expect(failing.stdout).toMatch(
      /online store\n(.*\n)*? {2}fail {2}eviction: .*\n {8}to do: set maxmemory-policy to noeviction/,
    )
    await server.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
    const passing = await headwater(['doctor', '--json', ...set])
    expect(passing.code).toBe(0)
    const report = JSON.parse(passing.stdout) as { ok: boolean; examinations: { part: string }[] }
    expect(report.ok).toBe(true)
    expect(report.examinations.map(({ part }) => part)).toEqual([
      'event log',
      'schema registry',
      'online store',
      'offline store',
    ])
    const absent = await headwater(['doctor', ...set.slice(0, 3), 'onlineStore.addresses=127.0.0.1:1'])
    expect(absent.code).toBe(1)
    expect(absent.stdout).toMatch(/fail {2}connection: Redis at 127\.0\.0\.1:1/)
  })
})
