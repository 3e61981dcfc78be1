import { bytesPerElement } from '@topk-attention/core';
import type { AttentionRequest } from '@topk-attention/core/backend';
import { ALIGNMENT } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';

const LARGEST_K = 512;
const LARGEST_REACH = 512;
const FEWEST_QUERIES = 64;
const FEWEST_KEYS = 1024;

/** Why the tensor path does not take a request; pure and cheap. */
export function tensorRefusals(request: AttentionRequest, facts: DeviceFacts): readonly string[] {
  const reasons: string[] = [];
  for (const feature of ['subgroups', 'shader-f16', 'chromium-experimental-subgroup-matrix']) {
    if (!facts.features.has(feature)) reasons.push(`the device lacks ${feature}`);
  }
  if (facts.subgroupMinSize !== 32 || facts.subgroupMaxSize !== 32)
    reasons.push('subgroups do not all have 32 lanes');
  // Other vendors' matrices have other sizes, and no bound on their sums has been derived.
  if (facts.vendor !== 'nvidia')
    reasons.push('subgroup matrices of 16 x 16 x 16 are known only on NVIDIA devices');
  const { k, headDim, valueDim, scale, queryLength, keyLength, dtype } = request;
  if (headDim % 16 !== 0 || headDim > 128)
    reasons.push(`headDim ${headDim} is not a multiple of 16 up to 128`);
  if ((request.relativeBias?.maxDistance ?? 0) > LARGEST_REACH) {
    reasons.push(`maxDistance is above ${LARGEST_REACH}`);
  }
  if (!(Math.abs(scale) > 1e-30 && Math.abs(scale) < 1e30)) reasons.push(`scale ${scale} is zero or extreme`);
  if (queryLength < FEWEST_QUERIES)
    reasons.push(`packing the keys does not pay below ${FEWEST_QUERIES} queries`);
  if (keyLength < FEWEST_KEYS) reasons.push(`two sweeps do not pay below ${FEWEST_KEYS} keys`);
  if (k === 'all') reasons.push('all keys are kept: nothing to select');
  else if (k > LARGEST_K) reasons.push(`k = ${k} is above ${LARGEST_K}`);
  if (valueDim % 4 !== 0 || valueDim > 512)
    reasons.push(`valueDim ${valueDim} is not a multiple of 4 up to 512`);
  if (request.mask !== undefined) reasons.push('rescoring the listed keys does not read a mask');
  if (request.bias !== undefined) reasons.push('rescoring the listed keys does not add a bias');
  const perHead =
    bytesPerElement(dtype) * Math.max(keyLength, queryLength) * Math.max(headDim, valueDim) + ALIGNMENT;
  if (perHead > facts.bindingBytes) reasons.push(`one head takes ${perHead} bytes, more than one binding`);
  return reasons;
}
