import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { PortError } from '../ports/errors.ts'

/** The engines of the shipped compose file; what else it holds runs Headwater itself. */
export const COMPOSE_ENGINES = ['kafka', 'redis', 'clickhouse', 'schema-registry'] as const
const PROJECT = 'headwater-stack'
const ENGINE_TIMEOUT_MS = 10_000

/** The shipped compose file's engines on this machine's loopback ports, as that file publishes them. */
export const COMPOSE_ADDRESSES = {
  kafka: '127.0.0.1:29092',
  redis: '127.0.0.1:6379',
  clickhouse: 'http://127.0.0.1:8123',
  clickhouseUser: 'headwater',
  schemaRegistry: 'http://127.0.0.1:8081',
} as const

/** Passwords that the compose file asks for, by the name of their variable. */
export type ComposePasswords = Readonly<Record<'REDIS_PASSWORD' | 'CLICKHOUSE_PASSWORD' | 'GRAFANA_PASSWORD', string>>

/** The shipped compose file. */
export const COMPOSE_FILE = join(import.meta.dirname, '..', 'deploy', 'compose.yaml')

/** Why the compose file cannot be used here, with the remedy, or null. */
export function dockerProblem(): string | null {
  const info = spawnSync('docker', ['info'], { encoding: 'utf8', timeout: ENGINE_TIMEOUT_MS })
  const without = 'or leave --docker out: the servers then run without containers'
  if (info.error !== undefined && 'code' in info.error && info.error.code === 'ENOENT') {
    return `docker is not on the PATH; install Docker, ${without}`
  }
  if (info.status !== 0) return `no Docker engine answers ("docker info" failed); start it, ${without}`
  const compose = spawnSync('docker', ['compose', 'version'], { encoding: 'utf8', timeout: ENGINE_TIMEOUT_MS })
  if (compose.status !== 0) return `"docker compose" is not there; install Docker's compose plug-in, ${without}`
  return existsSync(COMPOSE_FILE) ? null : `there is no ${COMPOSE_FILE}; use a checkout of the repository, ${without}`
}

function compose(args: readonly string[], envFile: string): Promise<void> {
  const problem = dockerProblem()
  if (problem !== null) throw new PortError('SERVER_UNAVAILABLE', problem)
  const all = ['compose', '-f', COMPOSE_FILE, '-p', PROJECT, '--env-file', envFile, ...args]
  const child = spawn('docker', all, { stdio: ['ignore', 2, 2] })
  return new Promise((done, fail) => {
    child.once('error', error => fail(new PortError('SERVER_UNAVAILABLE', `docker: ${error.message}`)))
    child.once('close', code => {
      if (code === 0) done()
      else fail(new PortError('SERVER_FAILED', `"docker compose ${args[0]}" failed (exit code ${code}), see above`))
    })
  })
}

/** The text of the file that gives the compose file its passwords. */
export function composeEnvironment(passwords: ComposePasswords): string {
  return `${Object.entries(passwords)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')}\n`
}

/** Starts the engines of the compose file and waits until each is healthy. Docker's messages go to standard error. */
export function composeUp(envFile: string): Promise<void> {
  return compose(['up', '--detach', '--wait', ...COMPOSE_ENGINES], envFile)
}

/** Ends them; `purge` removes their volumes too. */
export function composeDown(envFile: string, purge: boolean): Promise<void> {
  return compose(['down', ...(purge ? ['--volumes'] : [])], envFile)
}

/** Prints what runs, on standard error. */
export function composeStatus(envFile: string): Promise<void> {
  return compose(['ps', '--all'], envFile)
}
