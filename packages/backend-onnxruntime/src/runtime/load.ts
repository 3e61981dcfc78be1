import { aValue, type OptionKind, TopKError } from '@topk-attention/core';
import type { OrtModule } from './ort.js';

/** The peers this package works with, in order of preference, and the versions it was written for. */
export const peers = ['onnxruntime-node', 'onnxruntime-web'] as const;
export const PEER_RANGE = '^1.30.0';

export type PeerName = (typeof peers)[number];

/**
 * Imports one peer; throws what the import throws. The specifier is a variable, so that bundlers neither look for a
 * peer that is not installed nor bundle the one for Node: a bundled page passes its module as `{ ort }`.
 */
export async function importPeer(name: PeerName): Promise<OrtModule> {
  const specifier: string = name;
  const module: unknown = await import(/* @vite-ignore */ /* webpackIgnore: true */ specifier);
  const candidates = [module, isObject(module) ? module.default : undefined];
  for (const candidate of candidates) if (isOrtModule(candidate)) return candidate;
  throw new TopKError('ENGINE_FAILURE', `${name}: not an ONNX Runtime module`, {
    expected: 'exports Tensor and InferenceSession',
  });
}

/** The first peer that can be imported. */
export async function loadOrt(load: (name: PeerName) => Promise<OrtModule> = importPeer): Promise<OrtModule> {
  const reasons: string[] = [];
  for (const name of peers) {
    try {
      return await load(name);
    } catch (error) {
      reasons.push(`${name}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    }
  }
  throw new TopKError('MISSING_PEER', 'no ONNX Runtime module found', {
    expected: `${peers.join(' or ')} ${PEER_RANGE}`,
    got: reasons.join('; '),
    fix: `Install one (npm install onnxruntime-node@${PEER_RANGE}), or pass it as { ort }, as a bundled page must`,
  });
}

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return (typeof value === 'object' || typeof value === 'function') && value !== null;
}

function isOrtModule(value: unknown): value is OrtModule {
  return isObject(value) && typeof value.Tensor === 'function' && isObject(value.InferenceSession);
}

/** An option that holds an engine's module. */
export const anOrt: OptionKind<OrtModule> = aValue('the module of ONNX Runtime', isOrtModule);
