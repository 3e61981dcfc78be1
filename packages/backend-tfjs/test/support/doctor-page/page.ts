// Runs in the page: doctor() on an engine of tf.
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import { type DoctorReport, doctor } from '../../../src/index.js';

async function examine(engine: 'webgl' | 'webgpu', flags: Record<string, boolean>): Promise<DoctorReport> {
  for (const [flag, value] of Object.entries(flags)) tf.env().set(flag, value);
  await tf.setBackend(engine);
  return doctor({ tf });
}

Object.assign(globalThis, { examine });
