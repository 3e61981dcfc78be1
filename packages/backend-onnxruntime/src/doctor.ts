import { aBoolean, type OptionKinds, readOptions } from '@topk-attention/core';
import { lacksLibrary } from './runtime/libraries.js';
import { anOrt, importPeer, PEER_RANGE, type PeerName, peers } from './runtime/load.js';
import type { OrtModule } from './runtime/ort.js';
import { probeProvider } from './runtime/probe.js';
import { disableTelemetry } from './runtime/telemetry.js';

export interface ProviderReport {
  readonly name: string;
  readonly usable: boolean;
  /** Why it is not usable. */
  readonly reason?: string;
}

export interface PeerReport {
  readonly name: string;
  /** Versions this package was written for. */
  readonly range: string;
  readonly installed: boolean;
  readonly version?: string;
  /** Why it could not be imported. */
  readonly reason?: string;
  readonly providers: readonly ProviderReport[];
}

export interface DoctorReport {
  /** True when some execution provider runs. */
  readonly ok: boolean;
  readonly peers: readonly PeerReport[];
}

export interface DoctorOptions {
  /** Examine this module in place of the peers that can be imported. */
  readonly ort?: OrtModule;
  /** As for `createOnnxRuntimeBackend`: false keeps the engine from sending usage data. Default: false. */
  readonly telemetry?: boolean;
}

const kinds: OptionKinds<DoctorOptions> = { ort: anOrt, telemetry: aBoolean };

/**
 * Reports which ONNX Runtime packages are installed, which execution providers run (each is tried with one addition), and why
 * the others do not.
 *
 * @example
 * for (const peer of (await doctor()).peers) console.log(peer.name, peer.version, peer.providers);
 */
export async function doctor(options?: DoctorOptions): Promise<DoctorReport> {
  const given = readOptions('doctor', options, kinds);
  if (given.telemetry !== true) disableTelemetry();
  const reports =
    given.ort === undefined
      ? await Promise.all(peers.map(examinePeer))
      : [await examineModule('given module', given.ort)];
  const ok = reports.some(({ providers }) => providers.some(({ usable }) => usable));
  return { ok, peers: reports };
}

async function examinePeer(name: PeerName): Promise<PeerReport> {
  try {
    return await examineModule(name, await importPeer(name));
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).split('\n')[0] as string;
    return { name, range: PEER_RANGE, installed: false, reason, providers: [] };
  }
}

async function examineModule(name: string, ort: OrtModule): Promise<PeerReport> {
  const versions = ort.env?.versions;
  const version = versions?.node ?? versions?.web ?? versions?.common;
  // onnxruntime-web has no list; these two are what its builds can contain and a page can offer.
  const offered = ort.listSupportedBackends?.() ?? [
    { name: 'wasm', bundled: true },
    { name: 'webgpu', bundled: true },
  ];
  const providers: ProviderReport[] = [];
  for (const { name: provider, bundled } of offered) {
    const reason = bundled ? await probeProvider(ort, [provider]) : await examineFetched(ort, provider);
    providers.push({ name: provider, usable: reason === undefined, ...(reason !== undefined && { reason }) });
  }
  return {
    name,
    range: PEER_RANGE,
    installed: true,
    ...(version !== undefined && { version }),
    providers,
  };
}

/** Why a provider whose libraries an install script may have fetched does not run. */
async function examineFetched(ort: OrtModule, provider: string): Promise<string | undefined> {
  const isThere = !lacksLibrary(provider) && (await probeProvider(ort, [provider])) === undefined;
  return isThere
    ? undefined
    : 'not in the package: its libraries are fetched by the install script of onnxruntime-node';
}
