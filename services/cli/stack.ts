import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Option } from 'commander'
import type { Command } from 'commander'
import { environmentName } from '../../topology/runtime/config.ts'
import {
  COMPOSE_ADDRESSES,
  composeDown,
  composeEnvironment,
  composeStatus,
  composeUp,
  dockerProblem,
} from '../../topology/stack/compose.ts'
import {
  DEFAULT_KAFKA_VERSION,
  ensureKafkaJars,
  kafkaVersions,
  recordKafkaJars,
} from '../../topology/stack/kafka-jars.ts'
import { recordedServers, signalRecorded } from '../../topology/stack/server-process.ts'
import { readStack, stackStatus, startStack, stopStack } from '../../topology/stack/stack.ts'
import type { RedisLayout, ServerStatus, Stack, StackShape } from '../../topology/stack/stack.ts'
import { cacheFolder } from '../cache-folder.ts'
import { UsageError } from '../load.ts'

interface FolderFlag {
  readonly folder: string
}

interface UpFlags extends FolderFlag {
  readonly brokers?: '1' | '3'
  readonly redis?: RedisLayout
  readonly kafkaVersion?: string
  readonly docker?: boolean
}

/** Settings by their part of the configuration and their name in it. */
type Settings = Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>

const COMPOSE_ENV = 'compose.env'
const SETTINGS_FILE = 'stack.env'

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const tell = (line: string): void => void process.stderr.write(`${line}\n`)

/** The settings that make Headwater use a stack. */
function settingsOf(stack: Stack): Settings {
  const sentinels = stack.redis === 'sentinel' ? { sentinelName: stack.sentinelName } : {}
  return {
    eventLog: { kind: 'kafka', brokers: stack.bootstrap },
    onlineStore: { kind: 'redis', mode: stack.redis, addresses: stack.redisAddresses, ...sentinels },
  }
}

function composeSettings(redisPassword: string, clickhousePassword: string): Settings {
  const { kafka, redis, clickhouse, clickhouseUser, schemaRegistry } = COMPOSE_ADDRESSES
  return {
    eventLog: { kind: 'kafka', brokers: [kafka] },
    schemaRegistry: { url: schemaRegistry },
    onlineStore: { kind: 'redis', mode: 'single', addresses: [redis], password: redisPassword },
    offlineStore: { kind: 'clickhouse', url: clickhouse, username: clickhouseUser, password: clickhousePassword },
  }
}

function environmentOf(settings: Settings): string {
  const lines = Object.entries(settings).flatMap(([part, values]) =>
    Object.entries(values).map(([name, value]) => `${environmentName(`${part}.${name}`)}=${[value].flat().join(',')}`),
  )
  return `${lines.join('\n')}\n`
}

function configurationOf(settings: Settings): string {
  const literal = (value: string | readonly string[]): string =>
    typeof value === 'string' ? `'${value}'` : `[${value.map(item => `'${item}'`).join(', ')}]`
  return Object.entries(settings)
    .map(([part, values]) => {
      const pairs = Object.entries(values).map(([name, value]) => `${name}: ${literal(value)}`)
      return `  ${part}: { ${pairs.join(', ')} },`
    })
    .join('\n')
}

/** Writes the settings file; returns what to print about it. */
function settingsText(folder: string, settings: Settings): string {
  const file = join(folder, SETTINGS_FILE)
  const environment = environmentOf(settings)
  writeFileSync(file, environment, { mode: 0o600 })
  return [
    `\nSettings, for the environment ("set -a; . ${file}; set +a"):\n`,
    environment.trim().replaceAll(/^/gm, '  '),
    '\nor in headwater.config.ts:\n',
    configurationOf(settings),
  ].join('\n')
}

const WORDS = { answers: 'answers', silent: 'runs, but does not answer', ended: 'has ended' } as const

function serversText(servers: readonly ServerStatus[]): string {
  const width = Math.max(...servers.map(({ record }) => record.name.length))
  return servers
    .map(({ record, state }) => {
      const address = `${record.host}:${record.port}`
      return `  ${record.name.padEnd(width)}  ${address.padEnd(15)}  process ${record.pid}  ${WORDS[state]}`
    })
    .join('\n')
}

const ABOUT_CLICKHOUSE = `
ClickHouse comes as no server that could be started here: leave offlineStore at its default, and the engine inside
Headwater serves ClickHouse's HTTP protocol on loopback while "headwater run" runs.`

function shapeOf(flags: UpFlags, present: Stack | null): StackShape {
  return {
    brokers: flags.brokers === undefined ? (present?.brokers ?? 1) : flags.brokers === '3' ? 3 : 1,
    redis: flags.redis ?? present?.redis ?? 'single',
    kafkaVersion: flags.kafkaVersion ?? present?.kafkaVersion ?? DEFAULT_KAFKA_VERSION,
  }
}

async function up(flags: UpFlags): Promise<void> {
  const folder = resolve(flags.folder)
  if (flags.docker === true) return dockerUp(folder)
  if (existsSync(join(folder, COMPOSE_ENV))) {
    throw new UsageError(
      `the stack in ${folder} runs in containers; add --docker, or remove it with "stack down --purge"`,
    )
  }
  const present = readStack(folder)
  tell(`starting Kafka and Redis in ${folder}`)
  const options = { folder, cache: cacheFolder(), shape: shapeOf(flags, present), onProgress: tell }
  // A new stack that is not whole yet goes with the command; servers of one that was there stay what they are.
  if (present === null) for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abandon(folder))
  const { stack, started } = await startStack(options)
  const again =
    started.length === 0 ? 'The stack was up already:' : `The stack is up; started again: ${started.join(', ')}`
  const servers = serversText(await stackStatus(folder))
  const heading = present === null ? 'The stack is up:' : again
  say([`${heading}\n`, servers, ABOUT_CLICKHOUSE, settingsText(folder, settingsOf(stack))].join('\n'))
}

function abandon(folder: string): void {
  for (const record of recordedServers(folder)) signalRecorded(record, 'SIGKILL')
  process.exit(130)
}

async function dockerUp(folder: string): Promise<void> {
  const problem = dockerProblem()
  if (problem !== null) throw new UsageError(problem)
  if (readStack(folder) !== null) {
    throw new UsageError(`the stack in ${folder} runs without containers; remove it with "stack down --purge" first`)
  }
  mkdirSync(folder, { recursive: true })
  const file = join(folder, COMPOSE_ENV)
  const password = (): string => randomBytes(18).toString('base64url')
  if (!existsSync(file)) {
    const passwords = { REDIS_PASSWORD: password(), CLICKHOUSE_PASSWORD: password(), GRAFANA_PASSWORD: password() }
    writeFileSync(file, composeEnvironment(passwords), { mode: 0o600 })
  }
  await composeUp(file)
  const passwords = new Map(
    readFileSync(file, 'utf8')
      .split('\n')
      .map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  )
  const [redis = '', clickhouse = ''] = [passwords.get('REDIS_PASSWORD'), passwords.get('CLICKHOUSE_PASSWORD')]
  say('Kafka, Redis, ClickHouse and a schema registry are up, in containers.')
  say(settingsText(folder, composeSettings(redis, clickhouse)))
}

async function down(flags: FolderFlag & { readonly purge?: boolean }): Promise<void> {
  const folder = resolve(flags.folder)
  const purge = flags.purge === true
  const file = join(folder, COMPOSE_ENV)
  if (existsSync(file)) {
    await composeDown(file, purge)
    if (purge) for (const name of [COMPOSE_ENV, SETTINGS_FILE]) rmSync(join(folder, name), { force: true })
    return say('The containers are down.')
  }
  const ended = await stopStack(folder, purge)
  if (ended.length === 0) return say(`there is no stack in ${folder}`)
  const words = { gone: 'had ended before', ended: 'has ended', killed: 'did not end in time and was killed' } as const
  say(ended.map(({ name, how }) => `  ${name} ${words[how]}`).join('\n'))
  say(
    purge
      ? `The stack is down, and ${folder} holds nothing of it.`
      : 'The stack is down; "stack up" goes on with its data.',
  )
}

async function status(flags: FolderFlag): Promise<void> {
  const folder = resolve(flags.folder)
  if (existsSync(join(folder, COMPOSE_ENV))) return composeStatus(join(folder, COMPOSE_ENV))
  const servers = await stackStatus(folder)
  if (servers.length === 0) throw new UsageError(`there is no stack in ${folder}; start one with "headwater stack up"`)
  say(serversText(servers))
  const stack = readStack(folder)
  if (stack !== null) say(`  settings are in ${join(folder, SETTINGS_FILE)}`)
  if (servers.some(({ state }) => state !== 'answers')) process.exitCode = 1
}

async function fetchJars(flags: {
  readonly kafkaVersion?: readonly string[]
  readonly record?: boolean
}): Promise<void> {
  for (const version of flags.kafkaVersion ?? kafkaVersions()) {
    const place = flags.record === true ? recordKafkaJars : ensureKafkaJars
    say(`Kafka ${version}: ${await place(cacheFolder(), version, tell)}`)
  }
}

/** `headwater stack up|down|status`: real servers on this machine's loopback ports. */
export function addStackCommand(program: Command): void {
  const stack = program
    .command('stack')
    .description('real Kafka and Redis on free loopback ports, for trials, tests and benchmarks')
  const folder = (): Option =>
    new Option('--folder <path>', 'where the stack keeps everything').default('.headwater/stack')
  stack
    .command('up')
    .description('start the servers, which go on in the background, and print the settings that use them')
    .addOption(folder())
    .addOption(new Option('--brokers <count>', 'Kafka brokers (1 when not given)').choices(['1', '3']))
    .addOption(
      new Option(
        '--redis <layout>',
        'one server, a Redis Cluster of three primaries, or a pair with three sentinels',
      ).choices(['single', 'cluster', 'sentinel']),
    )
    .addOption(
      new Option('--kafka-version <version>', `${DEFAULT_KAFKA_VERSION} when not given`).choices(kafkaVersions()),
    )
    .option('--docker', 'use the shipped compose file instead, which adds ClickHouse and a schema registry')
    .action(up)
  stack
    .command('down')
    .description('end the servers; their data stays for the next "stack up"')
    .addOption(folder())
    .option('--purge', 'remove their data too')
    .action(down)
  stack
    .command('status')
    .description('ask each server; exit code 1 unless all of them answer')
    .addOption(folder())
    .action(status)
  stack
    .command('fetch')
    .description('only fetch the jars of Kafka that "stack up" and the tests start, and check them')
    .option('--kafka-version <version...>', 'these versions; all known ones when not given')
    .addOption(new Option('--record', 'write the checksums of what is fetched among the known ones').hideHelp())
    .action(fetchJars)
}
