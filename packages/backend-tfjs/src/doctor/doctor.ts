import { checkedLater, type OptionKinds, readOptions, TopKError } from '@topk-attention/core';
import { registeredEngines, requireTf } from '../engine/engine.js';
import type { Tf } from '../tf.js';
import { type DeviceReport, examineDevice } from './device.js';
import { type DoctorProblem, error, warning } from './problems.js';
import { tryOut } from './try-out.js';

export interface DoctorReport {
  /** True when an engine runs and computes correctly, whatever warnings there are. */
  readonly ok: boolean;
  /** What is wrong or worth knowing; empty if nothing is. */
  readonly problems: readonly DoctorProblem[];
  /** Versions of the parts of `tf`, by package: `tfjs-core`, `tfjs-layers`, `tfjs-node`, ... */
  readonly versions: Readonly<Record<string, string>>;
  /** The registered engines, highest priority first. */
  readonly engines: readonly EngineReport[];
  /** The engine that tf runs, by tf's name: 'cpu', 'wasm', 'webgl', 'webgpu' or 'tensorflow'. */
  readonly engine?: string;
  /** What it computes on. */
  readonly device?: DeviceReport;
  readonly peers: readonly PeerReport[];
}

export interface EngineReport {
  readonly name: string;
  readonly priority: number;
  readonly state: 'running' | 'started' | 'registered';
}

export interface PeerReport {
  readonly name: string;
  /** Versions this package supports. */
  readonly range: string;
  readonly found: boolean;
  readonly version?: string;
  /** What does not work without it. */
  readonly neededFor: string;
}

export interface DoctorOptions {
  /** The caller's TensorFlow.js. Default: `@tensorflow/tfjs-core`, where that can be imported. */
  readonly tf?: Tf;
}

const kinds: OptionKinds<DoctorOptions> = { tf: checkedLater() };

const PEER_RANGE = '^4.22.0';

/**
 * Reports which engine tf runs, on which device, whether it computes correctly, and which problems are known there. If
 * tf runs no engine yet, the one it would choose is started. Rejects only for unknown options (INVALID_OPTION).
 *
 * @example
 * import * as tf from '@tensorflow/tfjs-node';
 * const { ok, engine, device, problems } = await doctor({ tf });
 */
export async function doctor(options?: DoctorOptions): Promise<DoctorReport> {
  const given = readOptions('doctor', options, kinds);
  const problems: DoctorProblem[] = [];
  const tf = await findTf(given.tf, problems);
  if (tf === undefined) return reportOf(undefined, problems);
  const version = versionsOf(tf)['tfjs-core'];
  if (version !== undefined && !/^4\.(2[2-9]|[3-9]\d)\./.test(version)) {
    const message = `tfjs-core ${version} has not been tested with this package`;
    problems.push(warning('UNSUPPORTED_VERSION', message, `Install TensorFlow.js ${PEER_RANGE}`));
  }
  const engine = await runningEngine(tf, problems);
  if (engine === undefined) return reportOf(tf, problems);
  try {
    const found = await examineDevice(tf, engine);
    problems.push(...found.problems);
    const failure = await tryOut(tf, engine);
    if (failure !== undefined) problems.push(failure);
    return { ...reportOf(tf, problems), engine, device: found.device };
  } catch (cause) {
    problems.push(
      error('ENGINE_FAILURE', `the engine '${engine}': ${messageOf(cause)}`, 'Use another engine'),
    );
    return { ...reportOf(tf, problems), engine };
  }
}

async function findTf(given: Tf | undefined, problems: DoctorProblem[]): Promise<Tf | undefined> {
  try {
    return requireTf(given === undefined ? await importTf() : given);
  } catch (cause) {
    const isMissing = given === undefined;
    problems.push(
      error(
        isMissing ? 'MISSING_PEER' : 'INVALID_TF',
        isMissing ? `no tf was given, and none can be imported: ${messageOf(cause)}` : messageOf(cause),
        cause instanceof TopKError && cause.fix !== undefined && !isMissing
          ? cause.fix
          : `Install it (npm install @tensorflow/tfjs@${PEER_RANGE}) and pass it: doctor({ tf })`,
      ),
    );
    return undefined;
  }
}

/** The specifier is a variable so that bundlers do not look for it: a bundled page passes its own tf. */
async function importTf(): Promise<Tf> {
  const specifier: string = '@tensorflow/tfjs-core';
  return import(/* @vite-ignore */ /* webpackIgnore: true */ specifier);
}

/** The running engine, or the one that tf starts when it is awaited. */
async function runningEngine(tf: Tf, problems: DoctorProblem[]): Promise<string | undefined> {
  const registered = registeredEngines(tf);
  if (registered.length === 0) {
    const fix =
      "Import one, for example '@tensorflow/tfjs-backend-wasm', or take @tensorflow/tfjs or @tensorflow/tfjs-node for tf";
    problems.push(error('NO_ENGINE', 'tf has no engine: no package of one was imported', fix));
    return undefined;
  }
  const fix = "await tf.setBackend('...') and await tf.ready() before anything else";
  const running = tf.getBackend();
  if (running) return running;
  try {
    await tf.ready();
    const started = tf.getBackend();
    const message = `tf ran no engine when doctor() was called; '${started}' started when it was waited for`;
    problems.push(warning('ENGINE_NOT_READY', message, fix));
    return started;
  } catch (cause) {
    const message = `no engine starts, of ${registered.join(', ')}: ${messageOf(cause)}`;
    problems.push(error('ENGINE_NOT_READY', message, fix));
    return undefined;
  }
}

function reportOf(tf: Tf | undefined, problems: readonly DoctorProblem[]): DoctorReport {
  const versions = tf === undefined ? {} : versionsOf(tf);
  const ok = problems.every(({ severity }) => severity === 'warning');
  return { ok, problems, versions, engines: tf === undefined ? [] : enginesOf(tf), peers: peersOf(versions) };
}

/** A single package has one version, a package of several has a table. */
function versionsOf(tf: Tf): Record<string, string> {
  const table: unknown = 'version' in tf ? tf.version : undefined;
  const versions: Record<string, string> = {};
  if (typeof table === 'object' && table !== null) {
    for (const [name, version] of Object.entries(table)) versions[name] = String(version);
  }
  for (const name of ['core', 'layers']) {
    const version: unknown = Reflect.get(tf, `version_${name}`);
    if (typeof version === 'string') versions[`tfjs-${name}`] ??= version;
  }
  return versions;
}

function enginesOf(tf: Tf): EngineReport[] {
  const { registryFactory, registry } = tf.engine();
  const running = tf.getBackend();
  return Object.entries(registryFactory)
    .map(([name, { priority }]): EngineReport => {
      const state = name === running ? 'running' : name in registry ? 'started' : 'registered';
      return { name, priority, state };
    })
    .sort((a, b) => b.priority - a.priority);
}

function peersOf(versions: Readonly<Record<string, string>>): PeerReport[] {
  return [
    { name: 'tfjs-core', neededFor: 'everything' },
    {
      name: 'tfjs-layers',
      neededFor: "topKLayers and convertLayersModel of '@topk-attention/tfjs/layers' only",
    },
  ].map(({ name, neededFor }) => {
    const version = versions[name];
    const found = version !== undefined;
    return { name: `@tensorflow/${name}`, range: PEER_RANGE, found, ...(found && { version }), neededFor };
  });
}

function messageOf(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).split('\n')[0] ?? '';
}
