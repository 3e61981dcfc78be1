import { aNumber, type OptionKinds, readOptions, required } from '@topk-attention/core';
import { requireWhole } from '../../require.js';
import type { Schedule } from './schedule.js';

// Hugging Face's family: from 0 at step 0 to the full rate after the warm-up, so that the very first update does nothing.

export interface WarmupOptions {
  /** Default 0. */
  readonly warmupSteps?: number;
}

export interface WarmupDecayOptions extends WarmupOptions {
  /** Steps of the whole run, including the warm-up. */
  readonly totalSteps: number;
}

export interface CosineOptions extends WarmupDecayOptions {
  /** Waves of the cosine: 0.5 falls to 0 once. Default 0.5. */
  readonly cycles?: number;
  /** Factor at the end. Default 0. */
  readonly minFactor?: number;
}

export interface CosineWithRestartsOptions extends WarmupDecayOptions {
  /** How often the rate falls from full to 0. Default 1. */
  readonly cycles?: number;
}

export interface PolynomialOptions extends WarmupDecayOptions {
  /** Default 1. */
  readonly power?: number;
  /** Factor at the end and after it; Hugging Face gives a rate (1e-7) instead. Default 0. */
  readonly endFactor?: number;
}

export interface InverseSqrtOptions extends WarmupOptions {
  /** Default: the steps of the warm-up, or 10,000 without one. */
  readonly timescale?: number;
}

export interface WarmupStableDecayOptions extends WarmupDecayOptions {
  /** Steps of the decay at the end of the run. */
  readonly decaySteps: number;
  /** Factor at the end and, as in Hugging Face, at the beginning of the warm-up. Default 0. */
  readonly minFactor?: number;
}

const warmupKinds: OptionKinds<WarmupOptions> = { warmupSteps: aNumber };
const decayKinds: OptionKinds<WarmupDecayOptions> = { ...warmupKinds, totalSteps: required(aNumber) };
const cosineKinds: OptionKinds<CosineOptions> = { ...decayKinds, cycles: aNumber, minFactor: aNumber };
const restartKinds: OptionKinds<CosineWithRestartsOptions> = { ...decayKinds, cycles: aNumber };
const polynomialKinds: OptionKinds<PolynomialOptions> = { ...decayKinds, power: aNumber, endFactor: aNumber };
const inverseKinds: OptionKinds<InverseSqrtOptions> = { ...warmupKinds, timescale: aNumber };
const stableKinds: OptionKinds<WarmupStableDecayOptions> = {
  ...decayKinds,
  decaySteps: required(aNumber),
  minFactor: aNumber,
};

/** The full rate after a linear warm-up (`constant_with_warmup`; without warm-up `constant`). */
export function constantSchedule(options?: WarmupOptions): Schedule {
  const { warmupSteps = 0 } = readOptions('constantSchedule', options, warmupKinds);
  requireWhole('constantSchedule', 'warmupSteps', warmupSteps, 0);
  return (step) => ({ rateFactor: warmup(step, warmupSteps) ?? 1 });
}

/** Linear to 0 at `totalSteps` (`linear`). */
export function linearSchedule(options: WarmupDecayOptions): Schedule {
  const { warmupSteps, totalSteps } = readDecay('linearSchedule', options, decayKinds);
  return (step) => ({ rateFactor: warmup(step, warmupSteps) ?? 1 - progress(step, warmupSteps, totalSteps) });
}

/** Half a cosine to `minFactor` (`cosine`, `cosine_with_min_lr`). */
export function cosineSchedule(options: CosineOptions): Schedule {
  const {
    warmupSteps,
    totalSteps,
    cycles = 0.5,
    minFactor = 0,
  } = readDecay('cosineSchedule', options, cosineKinds);
  return (step) => {
    const rising = warmup(step, warmupSteps);
    if (rising !== undefined) return { rateFactor: rising };
    const wave = 0.5 * (1 + Math.cos(2 * Math.PI * cycles * progress(step, warmupSteps, totalSteps)));
    return { rateFactor: Math.max(0, wave * (1 - minFactor) + minFactor) };
  };
}

/** Half a cosine, restarting from the full rate in each cycle (`cosine_with_restarts`). */
export function cosineWithRestartsSchedule(options: CosineWithRestartsOptions): Schedule {
  const {
    warmupSteps,
    totalSteps,
    cycles = 1,
  } = readDecay('cosineWithRestartsSchedule', options, restartKinds);
  return (step) => {
    const rising = warmup(step, warmupSteps);
    if (rising !== undefined) return { rateFactor: rising };
    const done = progress(step, warmupSteps, totalSteps);
    return { rateFactor: done >= 1 ? 0 : 0.5 * (1 + Math.cos(Math.PI * ((cycles * done) % 1))) };
  };
}

/** (1 - progress) ** power down to `endFactor` (`polynomial`). */
export function polynomialSchedule(options: PolynomialOptions): Schedule {
  const given = readDecay('polynomialSchedule', options, polynomialKinds);
  const { warmupSteps, totalSteps, power = 1, endFactor = 0 } = given;
  return (step) => ({
    rateFactor:
      warmup(step, warmupSteps) ??
      (1 - endFactor) * (1 - progress(step, warmupSteps, totalSteps)) ** power + endFactor,
  });
}

/** sqrt(timescale / (step - warmupSteps + timescale)) after the warm-up (`inverse_sqrt`). */
export function inverseSqrtSchedule(options?: InverseSqrtOptions): Schedule {
  const { warmupSteps = 0, timescale = warmupSteps || 10_000 } = readOptions(
    'inverseSqrtSchedule',
    options,
    inverseKinds,
  );
  requireWhole('inverseSqrtSchedule', 'warmupSteps', warmupSteps, 0);
  requireWhole('inverseSqrtSchedule', 'timescale', timescale, 1);
  return (step) => ({
    rateFactor: warmup(step, warmupSteps) ?? Math.sqrt(timescale / (step - warmupSteps + timescale)),
  });
}

/** Up, flat, and half a cosine down over the last `decaySteps` (`warmup_stable_decay`). */
export function warmupStableDecaySchedule(options: WarmupStableDecayOptions): Schedule {
  const given = readDecay('warmupStableDecaySchedule', options, stableKinds);
  const { warmupSteps, totalSteps, decaySteps, minFactor = 0 } = given;
  requireWhole('warmupStableDecaySchedule', 'decaySteps', decaySteps, 0);
  const from = totalSteps - decaySteps;
  return (step) => {
    const done = Math.min(1, (step - from) / Math.max(1, decaySteps));
    const falling = step < from ? 1 : 0.5 * (1 + Math.cos(Math.PI * done));
    return { rateFactor: (warmup(step, warmupSteps) ?? falling) * (1 - minFactor) + minFactor };
  };
}

export interface RsqrtOptions {
  /** Steps of the linear rise. */
  readonly warmupSteps: number;
  /** Default 1. */
  readonly scale?: number;
}

const rsqrtKinds: OptionKinds<RsqrtOptions> = { warmupSteps: required(aNumber), scale: aNumber };

/** scale * min(1, t / W) / sqrt(max(t, W)) with t = step + 1, as in T5 and the Long Range Arena. */
export function rsqrtSchedule(options: RsqrtOptions): Schedule {
  const { warmupSteps, scale = 1 } = readOptions('rsqrtSchedule', options, rsqrtKinds);
  requireWhole('rsqrtSchedule', 'warmupSteps', warmupSteps, 1);
  return (step) => {
    const t = step + 1;
    return { rateFactor: (scale * Math.min(1, t / warmupSteps)) / Math.sqrt(Math.max(t, warmupSteps)) };
  };
}

function readDecay<O extends WarmupDecayOptions>(
  where: string,
  options: O,
  kinds: OptionKinds<O>,
): O & { readonly warmupSteps: number } {
  const given = readOptions(where, options, kinds);
  const { warmupSteps = 0, totalSteps } = given;
  requireWhole(where, 'warmupSteps', warmupSteps, 0);
  requireWhole(where, 'totalSteps', totalSteps, warmupSteps);
  return { ...given, warmupSteps };
}

/** The factor while the rate rises; undefined afterwards. */
function warmup(step: number, warmupSteps: number): number | undefined {
  return step < warmupSteps ? step / warmupSteps : undefined;
}

/** From 0 at the end of the warm-up to 1 at the end of the run and after it. */
function progress(step: number, warmupSteps: number, totalSteps: number): number {
  return Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
}
