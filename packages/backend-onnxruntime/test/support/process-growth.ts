import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { bundle } from './bundle.js';

/** A call to measure: attention, or with `tokens` a feed-forward layer. */
export interface Call {
  readonly batch?: number;
  readonly heads?: number;
  readonly keyHeads?: number;
  readonly headDim?: number;
  readonly valueDim?: number;
  readonly queries?: number;
  /** Default: as many as queries. */
  readonly keys?: number;
  readonly tokens?: number;
  readonly dim?: number;
  readonly hidden?: number;
  /** Left out for exact attention. */
  readonly k?: number;
  readonly queryChunk?: number;
  readonly tokenChunk?: number;
  readonly budgetBytes?: number;
  readonly causal?: boolean;
  readonly keyLengths?: boolean;
  /** A number for every score. */
  readonly bias?: boolean;
  /** A relative bias of 32 buckets. */
  readonly relative?: boolean;
  readonly dropout?: { readonly rate: number; readonly seed: number };
  /** With the backward pass. Default false. */
  readonly gradient?: boolean;
}

/** Bytes. */
export interface Growth {
  readonly planned: number;
  /** Of the process's resident peak. */
  readonly grown: number;
  readonly chunks: number;
}

export const memoryMap: { readonly need: 'linux'; readonly available: boolean; readonly reason: string } = {
  need: 'linux',
  available: process.platform === 'linux',
  reason: "a process's peak can be forgotten and read again on Linux alone",
};

const child = await bundle('planned-bytes-child.mjs');

/** Makes the call in a process of its own. Rejects with what that writes to stderr. */
export async function measure(one: Call): Promise<Growth> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', child, JSON.stringify(one)]);
  return JSON.parse(stdout);
}
