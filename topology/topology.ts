import type { Plan, SourcePlan } from '../features/plan/plan.ts'
import type { TopicSpec } from './ports/event-log.ts'
import { LABELS_TOPIC, SCORES_TOPIC } from './ports/score-record.ts'

/** Where events go that were older than an entity's newest minus the lateness. */
export function lateTopic(source: Pick<SourcePlan, 'topic'>): string {
  return `${source.topic}.late`
}

/** Where records go that are not valid events of their source, with reason and position. */
export function deadLetterTopic(source: Pick<SourcePlan, 'topic'>): string {
  return `${source.topic}.dead-letter`
}

const SCORE_PARTITIONS = 4

/** A processor of the graph: what it reads, what it writes. */
export interface ProcessorNode {
  readonly name: string
  readonly process: 'feature-worker' | 'offline-writer' | 'scorer' | 'drift-monitor'
  readonly reads: readonly string[]
  readonly writes: readonly string[]
}

/** A topic with what the plan needs of it. */
export interface TopicNeed extends TopicSpec {
  /** `events` are counted, so nothing of them may be missing; `reports` and `answers` are what is written beside. */
  readonly use: 'events' | 'reports' | 'answers'
  /** Records younger than this may be needed again. */
  readonly leastRetentionMs: number
}

/** The whole flow as data. */
export interface Topology {
  readonly topics: readonly TopicNeed[]
  readonly processors: readonly ProcessorNode[]
}

/** The graph that runs a plan. Topics keep their records for ever unless a retention is configured on the broker. */
export function topologyOf(plan: Plan): Topology {
  const topics: TopicNeed[] = []
  for (const source of plan.sources) {
    const { partitions } = source
    const leastRetentionMs = source.latenessMs + Math.max(source.latenessMs, source.readBackMs)
    topics.push({ name: source.topic, partitions, retentionMs: 0, use: 'events', leastRetentionMs })
    for (const name of [lateTopic(source), deadLetterTopic(source)]) {
      topics.push({ name, partitions, retentionMs: 0, use: 'reports', leastRetentionMs: 0 })
    }
  }
  for (const name of [SCORES_TOPIC, LABELS_TOPIC]) {
    topics.push({ name, partitions: SCORE_PARTITIONS, retentionMs: 0, use: 'answers', leastRetentionMs: 0 })
  }
  const sources = plan.sources.map(source => source.topic)
  return {
    topics,
    processors: [
      {
        name: 'features',
        process: 'feature-worker',
        reads: sources,
        writes: ['online store', ...plan.sources.map(lateTopic)],
      },
      {
        name: 'history',
        process: 'offline-writer',
        reads: [...sources, SCORES_TOPIC, LABELS_TOPIC],
        writes: ['offline store', ...plan.sources.map(deadLetterTopic)],
      },
      { name: 'scoring', process: 'scorer', reads: ['online store', 'models'], writes: [SCORES_TOPIC] },
      { name: 'drift', process: 'drift-monitor', reads: [SCORES_TOPIC], writes: ['offline store'] },
    ],
  }
}

/** The graph as text, one line a processor. */
export function describeTopology(topology: Topology): string {
  const lines = topology.processors.map(
    node => `${node.name.padEnd(10)} (${node.process}): ${node.reads.join(', ')} -> ${node.writes.join(', ')}`,
  )
  return [...topology.topics.map(t => `topic ${t.name}, ${t.partitions} partitions`), ...lines].join('\n')
}
