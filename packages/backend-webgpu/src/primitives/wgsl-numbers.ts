export * from '../wgsl/numbers.js';
