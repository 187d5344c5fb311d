import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { PortError } from '../ports/errors.ts'
import { makeCertificates } from './certificates.ts'
import type { Certificates } from './certificates.ts'
import { clusterId, kafkaProperties } from './kafka-config.ts'
import type { KafkaNode, KafkaPorts, KafkaSecurity, KafkaUser } from './kafka-config.ts'
import { DEFAULT_KAFKA_VERSION, ensureKafkaJars } from './kafka-jars.ts'
import { freePorts } from './ports.ts'
import { startServer, versionOf, withFreshPorts } from './server-process.ts'
import type { Server, ServerSpec } from './server-process.ts'

const HOST = '127.0.0.1'
const OLDEST_JAVA = 17
const READY_MS = 90_000
const GRACE_MS = 15_000
const TOOL_MS = 60_000
/** A small heap, and compilers and a collector that start fast: brokers of a stack live for minutes or hours. */
const JVM = ['-Xms128m', '-Xmx384m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto']

/** How a cluster is started. */
export interface KafkaOptions {
  /** Of its own; each broker has a folder in it. */
  readonly folder: string
  /** Folder where jars of Kafka are kept between runs. */
  readonly cache: string
  readonly brokers?: 1 | 3
  readonly version?: string
  readonly security?: KafkaSecurity
  /** Broker settings beside, or in place of, those of the stack: `{ 'log.retention.ms': 1000 }`. */
  readonly settings?: Readonly<Record<string, string | number>>
  /** Outlives this process. */
  readonly detached?: boolean
  /** Told a line at a time when jars are fetched. */
  readonly onProgress?: (line: string) => void
}

/** One node: broker and controller. */
export interface KafkaBroker extends Server {
  readonly id: number
  readonly host: string
  readonly port: number
  readonly folder: string
}

/** A running cluster. */
export interface KafkaCluster {
  readonly version: string
  /** `host:port` of each broker, for clients. */
  readonly bootstrap: readonly string[]
  readonly brokers: readonly KafkaBroker[]
  readonly security: KafkaSecurity
  /** Who may log in, where `security` asks for it. */
  readonly user: KafkaUser
  /** Of the authority and the client, where it is encrypted. */
  readonly certificates: Certificates | null
  /** Ends all brokers, each with SIGTERM and, when that takes too long, SIGKILL. */
  stop(): Promise<void>
}

/** Why no Java for Kafka is here, with the remedy, or null. */
export function javaProblem(): string | null {
  const remedy = `install Java ${OLDEST_JAVA} or newer (Debian and Ubuntu: apt-get install default-jre-headless)`
  const text = versionOf('java', ['-version'])
  if (text === null) return `java is not on the PATH; ${remedy}`
  const version = /version "(?:1\.)?(\d+)/.exec(text)?.[1]
  return version !== undefined && Number(version) < OLDEST_JAVA ? `java is version ${version}; ${remedy}` : null
}

/** Runs one of Kafka's own programs to its end. */
function runTool(jars: string, main: string, args: readonly string[]): Promise<string> {
  const child = spawn('java', [...JVM, '-cp', join(jars, '*'), main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TOOL_MS,
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return new Promise((done, fail) => {
    child.once('error', error => fail(new PortError('SERVER_UNAVAILABLE', `java cannot be started: ${error.message}`)))
    child.once('close', code => {
      if (code === 0) done(output)
      else fail(new PortError('SERVER_FAILED', `${main} failed (exit code ${code}):\n${output.slice(-4_000)}`))
    })
  })
}

/**
 * Starts a Kafka cluster in KRaft mode of one or three nodes, each broker and controller, on loopback ports. Resolves
 * when every broker has joined. Topics are never made by themselves.
 * @throws PortError SERVER_UNAVAILABLE when Java, Maven or the jars are not to be had, SERVER_FAILED with the end of a
 * broker's log when it does not start
 */
export async function startKafka(options: KafkaOptions): Promise<KafkaCluster> {
  const problem = javaProblem()
  if (problem !== null) throw new PortError('SERVER_UNAVAILABLE', problem)
  const version = options.version ?? DEFAULT_KAFKA_VERSION
  const jars = await ensureKafkaJars(options.cache, version, options.onProgress)
  return withFreshPorts(() => startOn(options, version, jars))
}

async function startOn(options: KafkaOptions, version: string, jars: string): Promise<KafkaCluster> {
  const folder = resolve(options.folder)
  const security = options.security ?? 'none'
  const encrypted = security === 'tls' || security === 'sasl-tls'
  const user: KafkaUser = { username: 'headwater', password: 'stack-secret' }
  mkdirSync(folder, { recursive: true })
  const certificates = encrypted ? makeCertificates(folder) : null
  const ports = await choosePorts(options.brokers ?? 1)
  const nodes = ports.map((_, i): KafkaNode => {
    const place = join(folder, `kafka-${i + 1}`)
    const keystore = certificates === null ? '' : join(place, 'server-keystore.pem')
    return { id: i + 1, folder: place, ports, security, user, certificates, keystore, settings: options.settings ?? {} }
  })
  await Promise.all(nodes.map(node => format(node, folder, jars)))
  const started = await Promise.allSettled(nodes.map(node => startNode(node, jars, options.detached)))
  const brokers = started.flatMap(each => (each.status === 'fulfilled' ? [each.value] : []))
  const failed = started.find(each => each.status === 'rejected')
  if (failed !== undefined) {
    for (const broker of brokers) broker.kill('SIGKILL')
    await Promise.all(brokers.map(broker => broker.exited))
    throw failed.reason
  }
  return {
    version,
    bootstrap: brokers.map(broker => `${broker.host}:${broker.port}`),
    brokers,
    security,
    user,
    certificates,
    stop: async () => {
      await Promise.all(brokers.map(broker => broker.stop()))
    },
  }
}

async function choosePorts(brokers: number): Promise<readonly KafkaPorts[]> {
  const ports = await freePorts(3 * brokers)
  return Array.from({ length: brokers }, (_, i) => {
    const [client = 0, internal = 0, controller = 0] = ports.slice(3 * i, 3 * i + 3)
    return { client, internal, controller }
  })
}

/** Writes a node's configuration and formats its folder; what an earlier attempt left there is kept out of the way. */
async function format(node: KafkaNode, clusterFolder: string, jars: string): Promise<void> {
  mkdirSync(node.folder, { recursive: true })
  if (node.certificates !== null) {
    const { serverKey, serverCert } = node.certificates
    writeFileSync(node.keystore, `${readFileSync(serverKey, 'utf8')}${readFileSync(serverCert, 'utf8')}`, {
      mode: 0o600,
    })
  }
  const file = join(node.folder, 'server.properties')
  writeFileSync(file, kafkaProperties(node), { mode: 0o600 })
  const args = ['format', '--cluster-id', clusterId(clusterFolder), '--config', file, '--ignore-formatted']
  if (node.security === 'sasl' || node.security === 'sasl-tls') {
    for (const mechanism of ['SCRAM-SHA-256', 'SCRAM-SHA-512']) {
      args.push('--add-scram', `${mechanism}=[name=${node.user.username},password=${node.user.password}]`)
    }
  }
  await runTool(jars, 'kafka.tools.StorageTool', args)
}

async function startNode(node: KafkaNode, jars: string, detached: boolean | undefined): Promise<KafkaBroker> {
  const port = node.ports[node.id - 1]?.client ?? 0
  const logging = ['defaultLogLevel=info', 'showDateTime=true', 'dateTimeFormat=HH:mm:ss.SSS', 'showThreadName=false']
  const spec: ServerSpec = {
    name: `kafka-${node.id}`,
    kind: 'kafka',
    host: HOST,
    port,
    folder: node.folder,
    command: 'java',
    args: [
      ...JVM,
      ...logging.map(setting => `-Dorg.slf4j.simpleLogger.${setting}`),
      '-cp',
      join(jars, '*'),
      'kafka.Kafka',
      join(node.folder, 'server.properties'),
    ],
    readyLine: 'Kafka Server started',
  }
  const server = await startServer(spec, { detached: detached ?? false, readyMs: READY_MS, graceMs: GRACE_MS })
  return Object.assign(server, { id: node.id, host: HOST, port, folder: node.folder })
}
