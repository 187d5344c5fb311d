import { createHash } from 'node:crypto'
import type { Certificates } from './certificates.ts'

/** How clients reach the brokers: in the clear, encrypted, with a login, or both. */
export type KafkaSecurity = 'none' | 'tls' | 'sasl' | 'sasl-tls'

/** The user of a cluster with logins; known to PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512. */
export interface KafkaUser {
  readonly username: string
  readonly password: string
}

/** The ports of one node. */
export interface KafkaPorts {
  readonly client: number
  /** For the other brokers, where clients have a listener that is encrypted or asks for a login. */
  readonly internal: number
  readonly controller: number
}

/** What the configuration of one node is made of. */
export interface KafkaNode {
  readonly id: number
  readonly folder: string
  readonly ports: readonly KafkaPorts[]
  readonly security: KafkaSecurity
  readonly user: KafkaUser
  readonly certificates: Certificates | null
  /** Of the server's certificate and key in one PEM file, empty without encryption. */
  readonly keystore: string
  readonly settings: Readonly<Record<string, string | number>>
}

const HOST = '127.0.0.1'
const PROTOCOLS = { none: 'PLAINTEXT', tls: 'SSL', sasl: 'SASL_PLAINTEXT', 'sasl-tls': 'SASL_SSL' } as const
const LOGIN = 'org.apache.kafka.common.security'

/** A cluster's id, 16 bytes in base64url, the same for the same folder. */
export function clusterId(folder: string): string {
  return createHash('sha256').update(folder).digest().subarray(0, 16).toString('base64url').replace(/^-/, 'A')
}

function securitySettings(node: KafkaNode): Readonly<Record<string, string>> {
  const { user, certificates } = node
  const out: Record<string, string> = {}
  if (certificates !== null) {
    out['ssl.keystore.type'] = 'PEM'
    out['ssl.keystore.location'] = node.keystore
    out['ssl.truststore.type'] = 'PEM'
    out['ssl.truststore.location'] = certificates.ca
    out['ssl.client.auth'] = 'requested'
  }
  if (node.security === 'sasl' || node.security === 'sasl-tls') {
    const { username, password } = user
    const plain = `${LOGIN}.plain.PlainLoginModule required user_${username}="${password}";`
    out['sasl.enabled.mechanisms'] = 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512'
    out['listener.name.client.plain.sasl.jaas.config'] = plain
    for (const mechanism of ['scram-sha-256', 'scram-sha-512']) {
      out[`listener.name.client.${mechanism}.sasl.jaas.config`] = `${LOGIN}.scram.ScramLoginModule required;`
    }
  }
  return out
}

/**
 * The properties of one node, broker and controller in one process. With three nodes each record has three copies, two
 * of which must be there for a write with all acknowledgements.
 */
export function kafkaProperties(node: KafkaNode): string {
  const own = node.ports[node.id - 1] ?? { client: 0, internal: 0, controller: 0 }
  const copies = node.ports.length
  const listeners = [`CLIENT://${HOST}:${own.client}`, `INTERNAL://${HOST}:${own.internal}`]
  const settings: Record<string, string | number | boolean> = {
    'process.roles': 'broker,controller',
    'node.id': node.id,
    'controller.quorum.voters': node.ports.map((ports, i) => `${i + 1}@${HOST}:${ports.controller}`).join(','),
    listeners: [...listeners, `CONTROLLER://${HOST}:${own.controller}`].join(','),
    'advertised.listeners': listeners.join(','),
    'listener.security.protocol.map': `CLIENT:${PROTOCOLS[node.security]},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT`,
    'inter.broker.listener.name': 'INTERNAL',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': `${node.folder}/data`,
    'num.partitions': 1,
    'auto.create.topics.enable': false,
    'default.replication.factor': copies,
    'min.insync.replicas': Math.min(2, copies),
    'offsets.topic.replication.factor': copies,
    'offsets.topic.num.partitions': copies === 1 ? 1 : 3,
    'transaction.state.log.replication.factor': copies,
    'transaction.state.log.min.isr': Math.min(2, copies),
    'transaction.state.log.num.partitions': copies === 1 ? 1 : 3,
    'group.initial.rebalance.delay.ms': 0,
    'num.network.threads': 2,
    'num.io.threads': 4,
    'num.replica.fetchers': 1,
    'log.cleaner.dedupe.buffer.size': 16 * 1024 * 1024,
    // Deaths are noticed and leaders changed within seconds, not after the defaults for a data centre.
    'broker.session.timeout.ms': 3_000,
    'broker.heartbeat.interval.ms': 500,
    'controller.quorum.election.timeout.ms': 500,
    'controller.quorum.fetch.timeout.ms': 1_500,
    ...securitySettings(node),
    ...node.settings,
  }
  return `${Object.entries(settings)
    .map(([key, value]) => `${key}=${value}`)
    .join('\n')}\n`
}
