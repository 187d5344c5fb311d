import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1'
import { Deployment } from 'kubernetes-models/apps/v1'
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2'
import { Job } from 'kubernetes-models/batch/v1'
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1'
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1'
import { ConfigMap, Service, ServiceAccount } from 'kubernetes-models/v1'
import { describe, expect, it } from 'vitest'
import { RENDERED, RENDERINGS, ROOT, readManifests, renderedFrom } from './files.ts'
import type { Loose } from './files.ts'
import { describeRealTools, writeRenderings } from './real-tools.ts'

if (process.env['HEADWATER_DEPLOY_WRITE'] === '1') writeRenderings()

/** The API's own schemas by kind of object. */
const MODELS: Readonly<Record<string, new (data: Loose) => { validate(): void }>> = {
  ConfigMap,
  Deployment,
  HorizontalPodAutoscaler,
  Job,
  NetworkPolicy,
  PodDisruptionBudget,
  ScaledObject,
  Service,
  ServiceAccount,
}

/** The module of the API that an object belongs to. */
function moduleOf(object: Loose): string {
  const isKeda = String(object.apiVersion).startsWith('keda.sh/')
  return `${isKeda ? '@kubernetes-models/keda' : 'kubernetes-models'}/${object.apiVersion}`
}

/** What the API's own schema says against an object; empty when nothing. */
function problemsOf(object: Loose): string {
  const Model = MODELS[object.kind]
  if (Model === undefined) return `there is no model of ${object.kind}`
  try {
    new Model(object).validate()
    return ''
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Fields that the API does not know, as the type checker sees them in literals of the API's types. */
function unknownFields(objects: readonly Loose[]): string {
  const scratch = mkdtempSync(join(tmpdir(), 'headwater-manifests-'))
  try {
    symlinkSync(join(ROOT, 'node_modules'), join(scratch, 'node_modules'), 'junction')
    const lines = objects.map((object, index) => {
      return `import type { I${object.kind} as T${index} } from '${moduleOf(object)}'\nexport const o${index}: T${index} = ${JSON.stringify(object)}\n`
    })
    writeFileSync(join(scratch, 'manifests.ts'), lines.join(''))
    const compilerOptions = {
      strict: true,
      noEmit: true,
      module: 'nodenext',
      target: 'es2024',
      skipLibCheck: true,
      types: [],
    }
    writeFileSync(join(scratch, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(scratch, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['manifests.ts'] }))
    const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
    const compiled = spawnSync(process.execPath, [compiler, '-p', scratch], { cwd: scratch, encoding: 'utf8' })
    return compiled.stdout + compiled.stderr
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function labelsMatch(selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value)
}

describe.each(RENDERINGS)('the chart, rendered: $file', ({ file, values }) => {
  const objects = readManifests(join(RENDERED, file))
  const of = (kind: string) => objects.filter(object => object.kind === kind)
  const deployments = of('Deployment')
  const pods = [...deployments, ...of('Job')].map(object => ({
    name: object.metadata.name,
    spec: object.spec.template.spec,
  }))

  it('is what Helm makes of the chart as it is', () => {
    const [first = ''] = readFileSync(join(RENDERED, file), 'utf8').split('\n', 1)
    expect(first, 'Remedy: HEADWATER_DEPLOY_WRITE=1 npm run prove deploy').toBe(renderedFrom(values))
  })

  it.each(objects.map(object => [`${object.kind} ${object.metadata.name}`, object] as const))(
    'conforms to the schema of its API: %s',
    (_, object) => expect(problemsOf(object)).toBe(''),
  )

  it('has no field that its API does not know', () => {
    expect(unknownFields(objects)).toBe('')
  })

  it('has names of its own', () => {
    const names = objects.map(object => `${object.kind}/${object.metadata.name}`)
    expect(new Set(names).size).toBe(names.length)
    for (const object of objects) expect(object.metadata.name.length).toBeLessThanOrEqual(63)
  })

  it('runs without rights, on a root file system that is read only', () => {
    for (const { name, spec } of pods) {
      expect(spec, name).toMatchObject({
        enableServiceLinks: false,
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      })
      for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
        expect(container.securityContext, name).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        })
        expect(container.resources, name).toMatchObject({
          requests: { memory: expect.any(String) },
          limits: { memory: expect.any(String) },
        })
        const mounted = container.volumeMounts.map((mount: Loose) => mount.name)
        const volumes = spec.volumes.map((volume: Loose) => volume.name)
        expect(mounted.toSorted(), name).toEqual(volumes.toSorted())
        expect(container.image, name).toMatch(/:[\w.-]+$/)
      }
    }
  })

  it('asks the scorer over gRPC, and lets it finish', () => {
    const scorer = deployments.find(object => object.metadata.name.endsWith('-scorer'))
    const {
      containers: [container],
      terminationGracePeriodSeconds,
    } = scorer.spec.template.spec
    const port = container.ports[0].containerPort
    for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'])
      expect(container[probe].grpc).toEqual({ port })
    const settings = {
      ...of('ConfigMap')[0].data,
      ...Object.fromEntries((container.env ?? []).map((e: Loose) => [e.name, e.value])),
    }
    expect(settings.HEADWATER_SERVER_PORT).toBe(String(port))
    const [, sleepSeconds] = container.lifecycle.preStop.exec.command
    const drainSeconds = Number(settings.HEADWATER_SERVER_DRAIN_MS) / 1_000
    expect(terminationGracePeriodSeconds).toBeGreaterThanOrEqual(Number(sleepSeconds) + drainSeconds + 10)
  })

  it('selects with services, budgets and policies exactly the pods that are meant', () => {
    const labels = [...deployments, ...of('Job')].map(o => o.spec.template.metadata.labels)
    const selectors = [
      ...of('Service').map(o => o.spec.selector),
      ...of('PodDisruptionBudget').map(o => o.spec.selector.matchLabels),
      ...of('NetworkPolicy').map(o => o.spec.podSelector.matchLabels),
      ...deployments.map(o => o.spec.selector.matchLabels),
    ]
    for (const selector of selectors)
      expect(
        labels.filter(own => labelsMatch(selector, own)),
        JSON.stringify(selector),
      ).toHaveLength(1)
  })

  it('scales what is there, once each, and leaves its number of replicas alone', () => {
    const scalers = [...of('HorizontalPodAutoscaler'), ...of('ScaledObject')]
    const targets = scalers.map(object => object.spec.scaleTargetRef.name)
    expect(new Set(targets).size).toBe(targets.length)
    const byName = new Map(deployments.map(object => [object.metadata.name, object]))
    for (const target of targets) expect(byName.get(target).spec.replicas, target).toBeUndefined()
    for (const [name, object] of byName)
      if (!targets.includes(name)) expect(object.spec.replicas, name).toBeGreaterThan(0)
    for (const object of of('ScaledObject')) expect(object.spec.triggers.length).toBeGreaterThan(0)
  })

  it('prepares before anything is installed, with nothing that the release brings', () => {
    const [job] = of('Job')
    expect(job.metadata.annotations['helm.sh/hook']).toBe('pre-install,pre-upgrade')
    const { containers, initContainers, serviceAccountName } = job.spec.template.spec
    expect(serviceAccountName).toBeUndefined()
    expect([...initContainers, ...containers].map((container: Loose) => container.args)).toEqual([
      ['topics', '--create'],
      ['migrate'],
    ])
    for (const container of [...initContainers, ...containers]) {
      expect(container.envFrom).toBeUndefined()
      const names = container.env.map((entry: Loose) => entry.name)
      expect(new Set(names).size).toBe(names.length)
    }
  })

  it('writes numbers in full', () => {
    expect(JSON.stringify(objects)).not.toMatch(/\de\+\d/)
  })
})

describe('the checks of manifests', () => {
  const [deployment] = readManifests(join(RENDERED, 'defaults.yaml')).filter(object => object.kind === 'Deployment')
  const [scaled] = readManifests(join(RENDERED, 'everything.yaml')).filter(object => object.kind === 'ScaledObject')

  it('find wrong types and missing fields', () => {
    const wrong = structuredClone(deployment)
    wrong.spec.minReadySeconds = '20'
    expect(problemsOf(wrong)).toMatch(/minReadySeconds must be integer/)
    const trigger = structuredClone(scaled)
    trigger.spec.triggers[0].metadata.lagThreshold = 5
    expect(problemsOf(trigger)).toMatch(/lagThreshold must be string/)
    delete trigger.spec.scaleTargetRef
    expect(problemsOf(trigger)).toMatch(/scaleTargetRef/)
  })

  it('find fields that do not exist', () => {
    const wrong = structuredClone(deployment)
    wrong.spec.template.spec.containers[0].livenesProbe = {}
    expect(unknownFields([wrong])).toMatch(/livenesProbe/)
    const trigger = structuredClone(scaled)
    trigger.spec.maxReplicas = 3
    expect(unknownFields([trigger])).toMatch(/maxReplicas/)
  })
})

if (process.env['HEADWATER_DEPLOY_TOOLS'] === '1') describeRealTools()
