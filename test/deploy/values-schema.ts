import { SETTINGS } from '../../topology/runtime/settings.ts'
import type { Setting } from '../../topology/runtime/settings.ts'

type Schema = Readonly<Record<string, unknown>>

/** Settings that are secret: they come from a Secret and are refused as plain values. */
export function isSecret(key: string): boolean {
  return /password$/i.test(key)
}

function leafSchema({ type, doc }: Setting): Schema {
  switch (type.kind) {
    case 'string':
      return {
        description: doc,
        type: 'string',
        ...(type.pattern === undefined ? {} : { pattern: type.pattern.source }),
      }
    case 'int':
      return { description: doc, type: 'integer', minimum: type.min, maximum: type.max }
    case 'choice':
      return { description: doc, enum: [...type.values] }
    case 'boolean':
      return { description: doc, type: 'boolean' }
    case 'list':
      return {
        description: doc,
        type: 'array',
        items: { type: 'string', pattern: '^[^,]+$' },
        ...(type.mayBeEmpty === true ? {} : { minItems: 1 }),
      }
  }
}

/** Objects without unknown keys. */
function closed(properties: Readonly<Record<string, unknown>>, required: readonly string[] = []): Schema {
  return { type: 'object', additionalProperties: false, properties, ...(required.length > 0 ? { required } : {}) }
}

/** The settings of the configuration file as a JSON schema, without those that are secret. */
function settingsSchema(): Schema {
  const parts = new Map<string, Record<string, unknown>>()
  const properties: Record<string, unknown> = {}
  for (const setting of SETTINGS) {
    if (isSecret(setting.key)) continue
    const [head = '', leaf] = setting.key.split('.')
    if (leaf === undefined) properties[head] = leafSchema(setting)
    else {
      const part = parts.get(head) ?? {}
      parts.set(head, part)
      part[leaf] = leafSchema(setting)
      properties[head] = closed(part)
    }
  }
  return closed(properties)
}

const count = { type: 'integer', minimum: 1 }
const text = { type: 'string' }
const flag = { type: 'boolean' }
const object = { type: 'object' }
const objects = { type: 'array', items: object }
const settings = { $ref: '#/$defs/settings' }
const secretKey = closed({ name: { type: 'string', minLength: 1 }, key: { type: 'string', minLength: 1 } }, [
  'name',
  'key',
])

const secrets = closed(
  Object.fromEntries(SETTINGS.filter(s => isSecret(s.key) || /username$/i.test(s.key)).map(s => [s.key, secretKey])),
)

const component = {
  enabled: flag,
  replicas: { type: 'integer', minimum: 0 },
  image: closed({ tag: text }),
  settings,
  resources: object,
  minReadySeconds: { type: 'integer', minimum: 0 },
  podDisruptionBudget: closed({ enabled: flag, maxUnavailable: { type: ['integer', 'string'] } }),
  podAnnotations: object,
  podLabels: object,
  nodeSelector: object,
  tolerations: objects,
  affinity: object,
  priorityClassName: text,
}

const lag = {
  enabled: flag,
  minReplicas: count,
  maxReplicas: count,
  lagThreshold: count,
  pollingIntervalSeconds: count,
  cooldownPeriodSeconds: count,
}

const worker = {
  ...component,
  terminationGracePeriodSeconds: { type: 'integer', minimum: 30 },
  livenessProbe: object,
}

const source = closed(
  {
    name: { type: 'string', minLength: 1 },
    topic: { type: 'string', minLength: 1 },
    revisions: { type: 'array', items: count, minItems: 1 },
  },
  ['name', 'topic', 'revisions'],
)

/** Where `enabled` is true, the rest must hold too. */
function whenEnabled(then: Schema): Schema {
  // oxlint-disable-next-line unicorn/no-thenable -- `then` is a keyword of JSON schemas
  return { if: { properties: { enabled: { const: true } }, required: ['enabled'] }, then }
}

const scorerAutoscaling = closed({
  enabled: flag,
  minReplicas: count,
  maxReplicas: count,
  targetCPUUtilizationPercentage: { type: 'integer', minimum: 1, maximum: 100 },
  latency: {
    ...closed({ enabled: flag, prometheusUrl: text, query: text, threshold: { type: 'number', exclusiveMinimum: 0 } }),
    ...whenEnabled({ properties: { prometheusUrl: { pattern: '^https?://' }, query: { minLength: 1 } } }),
  },
})

/** The schema that Helm checks the values of the chart against. */
export function valuesSchema(): Schema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the headwater chart',
    ...closed({
      global: object,
      image: closed({ repository: text, tag: text, pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] } }),
      imagePullSecrets: objects,
      nameOverride: text,
      fullnameOverride: text,
      settings,
      secrets,
      extraVolumes: objects,
      extraVolumeMounts: objects,
      serviceAccount: closed({ create: flag, name: text, annotations: object }),
      podSecurityContext: object,
      containerSecurityContext: object,
      prepare: closed({
        enabled: flag,
        settings,
        secrets,
        backoffLimit: { type: 'integer', minimum: 0 },
        activeDeadlineSeconds: count,
        resources: object,
      }),
      featureWorker: closed({
        ...worker,
        autoscaling: {
          ...closed({ ...lag, sources: { type: 'array', items: source } }),
          ...whenEnabled({ properties: { sources: { minItems: 1 } } }),
        },
      }),
      offlineWriter: closed({ ...worker, autoscaling: closed(lag) }),
      driftMonitor: closed({ ...worker, autoscaling: closed(lag) }),
      scorer: closed({
        ...component,
        preStopSleepSeconds: { type: 'integer', minimum: 0, maximum: 120 },
        service: closed({
          type: { enum: ['ClusterIP', 'NodePort', 'LoadBalancer'] },
          port: count,
          annotations: object,
        }),
        autoscaling: scorerAutoscaling,
      }),
      keda: closed({ kafkaAuthentication: text }),
      topologySpread: closed({ enabled: flag, maxSkew: count }),
      networkPolicy: closed({ enabled: flag, scorerFrom: objects }),
    }),
    $defs: { settings: settingsSchema() },
  }
}
