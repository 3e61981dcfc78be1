import { text } from '../wgsl/philox.wgsl.js';

/** WGSL `philox(counter: vec4u, seed: vec2u) -> u32`: word 0 of Philox4x32-10, as core's `philox4x32`; products of 32 bits by halves. */
export const philoxWgsl: string = `\n${text}`;
