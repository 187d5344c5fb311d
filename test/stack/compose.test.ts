import { readFileSync } from 'node:fs'
import { describe, expect, it, vi } from 'vitest'
import { COMPOSE_ADDRESSES, COMPOSE_FILE, COMPOSE_ENGINES, composeEnvironment } from '../../topology/stack/compose.ts'
import { headwater } from '../system/headwater.ts'

const text = readFileSync(COMPOSE_FILE, 'utf8')

describe('the compose file, as "stack up --docker" uses it', () => {
  it('has each engine, and publishes the addresses that the settings name', () => {
    for (const engine of COMPOSE_ENGINES) expect(text).toMatch(new RegExp(`^  ${engine}:$`, 'm'))
    const { kafka, redis, clickhouse, schemaRegistry, clickhouseUser } = COMPOSE_ADDRESSES
    for (const address of [kafka, redis, clickhouse, schemaRegistry]) {
      expect(text).toContain(`ports: ['${address.replace('http://', '')}:`)
    }
    expect(text).toContain(`HOST://${kafka}`)
    expect(text).toContain(`CLICKHOUSE_USER: ${clickhouseUser}\n`)
  })

  it('asks for no variable that it is not given', () => {
    const asked = new Set([...text.matchAll(/\$\{([A-Z_]+):\?/g)].map(match => match[1] ?? ''))
    const given = composeEnvironment({ REDIS_PASSWORD: 'a', CLICKHOUSE_PASSWORD: 'b', GRAFANA_PASSWORD: 'c' })
    expect([...asked].filter(name => !given.includes(`${name}=`))).toEqual([])
  })

  it('is not used where no engine answers: the command says what is missing', async () => {
    vi.stubEnv('DOCKER_HOST', 'unix:///nonexistent/docker.sock')
    const up = await headwater(['stack', 'up', '--docker'])
    vi.unstubAllEnvs()
    expect(up.stderr).toMatch(/^headwater: (docker is not on the PATH|no Docker engine answers)/)
    expect(up.code).toBe(1)
  })
})
