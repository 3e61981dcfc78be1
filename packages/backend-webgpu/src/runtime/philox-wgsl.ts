export { text as philoxWgsl } from '../wgsl/philox.wgsl.js';
