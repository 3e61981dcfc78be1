/** What is known about a device: plain data, so that choosing a path needs no device. */
export interface DeviceFacts {
  readonly features: ReadonlySet<string>;
  /** Largest binding of a storage buffer in bytes. */
  readonly bindingBytes: number;
  readonly bufferBytes: number;
  readonly workgroupBytes: number;
  readonly workgroupInvocations: number;
  readonly storageBuffers: number;
  /** Invocations of a subgroup; both 0 without the feature 'subgroups'. */
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  /** True for an adapter that runs on the CPU. */
  readonly isSoftware: boolean;
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
}

/** Whether the device has the memory for large transient tensors, as far as its bindings can tell: a choice. */
export function isLarge({ bindingBytes }: Pick<DeviceFacts, 'bindingBytes'>): boolean {
  return bindingBytes >= 2 ** 31 - 4;
}

export function deviceFacts(device: GPUDevice, info: GPUAdapterInfo = device.adapterInfo): DeviceFacts {
  const { limits } = device;
  const hasSubgroups = (device.features as ReadonlySet<string>).has('subgroups');
  const description = info.description || info.device;
  return {
    features: new Set(device.features as ReadonlySet<string>),
    bindingBytes: limits.maxStorageBufferBindingSize,
    bufferBytes: limits.maxBufferSize,
    workgroupBytes: limits.maxComputeWorkgroupStorageSize,
    workgroupInvocations: limits.maxComputeInvocationsPerWorkgroup,
    storageBuffers: limits.maxStorageBuffersPerShaderStage,
    subgroupMinSize: hasSubgroups ? (info.subgroupMinSize ?? 0) : 0,
    subgroupMaxSize: hasSubgroups ? (info.subgroupMaxSize ?? 0) : 0,
    isSoftware:
      info.isFallbackAdapter ||
      /swiftshader|llvmpipe|lavapipe|basic render/i.test(
        `${info.vendor} ${info.architecture} ${description}`,
      ),
    vendor: info.vendor,
    architecture: info.architecture,
    description,
  };
}
