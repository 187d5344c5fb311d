import { posix } from 'node:path'

/** Which folder may import which, as data. A folder may always import itself. */
const topLevelImports: Readonly<Record<string, readonly string[]>> = {
  protos: [],
  features: [],
  topology: ['protos', 'features'],
  services: ['protos', 'features', 'topology'],
  'load-tests': ['protos', 'features', 'topology', 'services'],
  test: ['protos', 'features', 'topology', 'services', 'load-tests'],
  bin: [],
}

/** Folders of features/ that hold shipped definitions are every other one, and see what an author sees. */
const featuresImports: Readonly<Record<string, readonly string[]>> = {
  kernel: [],
  statistics: ['kernel'],
  define: ['kernel'],
  policy: ['kernel', 'statistics', 'define'],
  plan: ['kernel', 'statistics', 'define'],
}
const shippedDefinitionImports = ['define', 'policy']

/** `.` stands for files directly in topology/. */
const topologyImports: Readonly<Record<string, readonly string[]>> = {
  ports: [],
  '.': ['ports'],
  processors: ['ports', '.'],
  scoring: ['ports', '.'],
  monitoring: ['ports', '.'],
  jobs: ['ports', '.'],
  adapters: ['ports', '.'],
  stack: ['ports', '.', 'adapters'],
  deploy: ['.'],
  runtime: ['ports', '.', 'processors', 'scoring', 'monitoring', 'jobs', 'adapters'],
}

/** The only folders (or single files, named without `.ts`) that may import a client library, besides test/ and load-tests/. */
const clientDoors: readonly { readonly library: RegExp; readonly places: readonly string[] }[] = [
  { library: /^kafkajs(\/.*)?$/, places: ['topology/adapters/event-log/kafka'] },
  { library: /^ioredis$/, places: ['topology/adapters/online-store/redis'] },
  { library: /^@clickhouse\/client$/, places: ['topology/adapters/offline-store/clickhouse'] },
  { library: /^chdb$/, places: ['topology/adapters/offline-store/chdb'] },
  { library: /^avsc$/, places: ['topology/adapters/value-format'] },
  { library: /^onnxruntime-(node|common)$/, places: ['topology/adapters/model-runtime/onnx'] },
  { library: /^(@grpc\/.*|grpc-health-check)$/, places: ['topology/adapters/server/grpc'] },
  {
    library: /^node:sqlite$/,
    places: [
      'topology/adapters/sqlite-file',
      'topology/adapters/event-log/embedded',
      'topology/adapters/online-store/embedded',
    ],
  },
]

/** Node modules that reach outside the process, or read its clock, chance or environment. */
const outsideModules =
  /^node:(fs|fs\/promises|child_process|cluster|dgram|dns|dns\/promises|http|http2|https|inspector|net|os|perf_hooks|process|readline|readline\/promises|repl|sqlite|timers|timers\/promises|tls|tty|v8|vm|worker_threads)$/

/** Folders of topology/ that see ports alone. */
const portsOnly = ['ports', 'processors', 'scoring', 'monitoring', 'jobs']

/** Folders that may read the environment and the system clock. */
const processFolders = ['services', 'test', 'load-tests', 'bin']

/**
 * Where a file of the repository stands.
 * @param file path relative to the repository, with forward slashes
 */
export interface Place {
  readonly file: string
  readonly top: string
  /** The second folder, `.` for a file directly in the first. */
  readonly part: string
}

export function placeOf(file: string): Place {
  const segments = file.split('/')
  return {
    file,
    top: segments.length > 1 ? (segments[0] ?? '') : '.',
    part: segments.length > 2 ? (segments[1] ?? '') : '.',
  }
}

/**
 * What is wrong with importing `specifier` (types included) in the file at `place`, or null.
 * @param place where the importing file stands
 * @param specifier as written in the import
 */
export function importProblem(place: Place, specifier: string): string | null {
  return specifier.startsWith('.')
    ? relativeImportProblem(place, posix.normalize(posix.join(posix.dirname(place.file), specifier)))
    : packageImportProblem(place, specifier)
}

function relativeImportProblem(place: Place, targetFile: string): string | null {
  const target = placeOf(targetFile)
  const allowed = topLevelImports[place.top]
  if (allowed === undefined) return null
  if (place.top !== target.top) {
    return allowed.includes(target.top) ? null : direction(place.top, target.top, allowed)
  }
  if (place.part === target.part) return null
  if (place.top === 'features' && place.part !== '.') {
    return inside('features', place.part, target.part, featuresImports[place.part] ?? shippedDefinitionImports)
  }
  if (place.top === 'topology') {
    const parts = topologyImports[place.part]
    if (parts !== undefined) return inside('topology', place.part, target.part, parts)
  }
  return null
}

function packageImportProblem(place: Place, specifier: string): string | null {
  const { top, part, file } = place
  if (specifier === 'headwater' || specifier.startsWith('headwater/')) {
    return `import the file itself instead of the built package "${specifier}"`
  }
  if (top === 'features') {
    const hashing = part === 'plan' && specifier === 'node:crypto'
    return hashing
      ? null
      : `features/ is pure: it may not import "${specifier}" (only features/plan may import node:crypto)`
  }
  if (top === 'topology' && portsOnly.includes(part)) {
    const pure = specifier.startsWith('node:') && !outsideModules.test(specifier)
    if (!pure) return `topology/${part} sees ports only: reach "${specifier}" through a port and an adapter`
  }
  if (top === 'topology' && /^node:(process|perf_hooks)$/.test(specifier)) {
    return `"${specifier}" belongs in services/: take a Clock or an argument instead`
  }
  const door = clientDoors.find(each => each.library.test(specifier))
  if (door !== undefined && !['test', 'load-tests'].includes(top)) {
    const through = door.places.some(each => file.startsWith(`${each}/`) || file === `${each}.ts`)
    if (!through) return `"${specifier}" has one door: only ${door.places.join(' or ')} may import it`
  }
  return null
}

/** Whether the environment and the system clock may be read in the file at `place`. */
export function mayReadClockAndEnvironment(place: Place): boolean {
  return place.top === '.' || processFolders.includes(place.top)
}

/** Whether unseeded randomness is allowed in the file at `place`. */
export function mayBeRandom(place: Place): boolean {
  return place.top === 'topology' && place.part === 'adapters'
}

/** Whether the file at `place` must compute and nothing else. */
export function mustBePure(place: Place): boolean {
  return place.top === 'features' || (place.top === 'topology' && place.part === 'processors')
}

function direction(from: string, to: string, allowed: readonly string[]): string {
  const may = allowed.length === 0 ? 'no other top-level folder' : `only ${allowed.map(name => `${name}/`).join(', ')}`
  return `${from}/ may not import ${to}/: it may import ${may}`
}

function inside(top: string, from: string, to: string, allowed: readonly string[]): string | null {
  if (allowed.includes(to)) return null
  const name = (part: string): string => (part === '.' ? `files directly in ${top}/` : `${top}/${part}`)
  const may = allowed.length === 0 ? `nothing else in ${top}/` : `only ${allowed.map(name).join(', ')}`
  return `${name(from)} may not import ${name(to)}: it may import ${may}`
}
