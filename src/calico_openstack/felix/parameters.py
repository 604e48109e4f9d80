"""The names of Felix's parameters, as upstream spells them (felix/config/config_params.go).

A parameter has one name in the configuration file, in the environment (`FELIX_<NAME>`) and in annotations, where case
does not matter, and one as a field of a FelixConfiguration, which is the same in lower camel case but for a few. All
of upstream's names are known here, so that a host's files can stay as they are; `settings` says which ones have an
effect.
"""

from __future__ import annotations

from difflib import get_close_matches

LOCAL = frozenset(
    """
    DatastoreType FelixHostname EtcdAddr EtcdScheme EtcdEndpoints EtcdCaFile EtcdCertFile EtcdKeyFile EtcdUsername
    EtcdPassword EtcdDiscoverySrv TyphaAddr TyphaK8sServiceName TyphaK8sNamespace TyphaReadTimeout TyphaWriteTimeout
    TyphaKeyFile TyphaCertFile TyphaCAFile TyphaCN TyphaURISAN DebugBPFCgroupV2 DebugCPUProfilePath DebugPanicAfter
    DebugSimulateDataRace MetadataProxyEnabled FloatingIPOutboundSNAT DebugSocketPath RemoveUpstreamRules
    MovedRouteConvergenceTime GuestFloodLimits
    """.split()  # noqa: SIM905 - two hundred quoted names are no easier to read
)
"""Only from file and environment. EtcdUsername, EtcdPassword, MetadataProxyEnabled, FloatingIPOutboundSNAT,
DebugSocketPath, RemoveUpstreamRules, MovedRouteConvergenceTime and GuestFloodLimits are ours."""

SHARED = frozenset(
    """
    AllowIPIPPacketsFromWorkloads AllowVXLANPacketsFromWorkloads AWSSrcDstCheck BPFAttachType
    BPFConnectTimeLoadBalancing BPFConnectTimeLoadBalancingEnabled BPFConntrackCleanupMode BPFConntrackLogLevel
    BPFConntrackTimeouts BPFCTLBLogFilter BPFDataIfacePattern BPFDisableGROForIfaces BPFDisableUnprivileged
    BPFDSROptoutCIDRs BPFEnabled BPFEnforceRPF BPFExcludeCIDRsFromNAT BPFExportBufferSizeMB BPFExternalServiceMode
    BPFExtToServiceConnmark BPFForceTrackPacketsFromIfaces BPFHostConntrackBypass BPFHostNetworkedNATWithoutCTLB
    BPFIPFragmentReassemblyEnabled BPFIPFragTimeout BPFJITHardening BPFKubeProxyHealthzPort
    BPFKubeProxyIptablesCleanupEnabled BPFKubeProxyMinSyncPeriod BPFL3IfacePattern BPFLogFilters BPFLogLevel
    BPFMaglevMaxEndpointsPerService BPFMaglevMaxServices BPFMapSizeConntrack BPFMapSizeConntrackCleanupQueue
    BPFMapSizeConntrackScaling BPFMapSizeIfState BPFMapSizeIPSets BPFMapSizeNATAffinity BPFMapSizeNATBackend
    BPFMapSizeNATFrontend BPFMapSizePerCPUConntrack BPFMapSizeRoute BPFOverlayHostSourceIP BPFPolicyDebugEnabled
    BPFProfiling BPFPSNATPorts BPFRedirectToPeer CgroupV2Path ChainInsertMode DataplaneDriver
    DataplaneWatchdogTimeout DebugDisableLogDropping DebugHost DebugMemoryProfilePath DebugPort
    DebugSimulateCalcGraphHangAfter DebugSimulateDataplaneApplyDelay DebugSimulateDataplaneHangAfter
    DefaultEndpointToHostAction DeviceRouteProtocol DeviceRouteSourceAddress DeviceRouteSourceAddressIPv6
    DisableConntrackInvalidCheck EndpointReportingDelaySecs EndpointReportingEnabled EndpointStatusPathPrefix
    ExternalNodesCIDRList FailsafeInboundHostPorts FailsafeOutboundHostPorts FeatureDetectOverride FeatureGates
    FloatingIPs FlowLogsCollectorDebugTrace FlowLogsFlushInterval FlowLogsGoldmaneServer FlowLogsLocalReporter
    FlowLogsPolicyEvaluationMode GenericXDPEnabled GoGCThreshold GoMaxProcs GoMemoryLimitMB HealthEnabled
    HealthHost HealthPort HealthTimeoutOverrides InterfaceExclude InterfacePrefix InterfaceRefreshInterval
    IPForwarding IpInIpEnabled IpInIpMtu IpsetsRefreshInterval IptablesBackend IptablesFilterAllowAction
    IptablesFilterDenyAction IptablesLockProbeIntervalMillis IptablesMangleAllowAction IptablesMarkMask
    IptablesNATOutgoingInterfaceFilter IptablesPostWriteCheckIntervalSecs IptablesRefreshInterval
    IPv4ElevatedRoutePriority IPv4NormalRoutePriority IPv6ElevatedRoutePriority IPv6NormalRoutePriority
    Ipv6Support IstioAmbientMode IstioDSCPMark KubeNodePortRanges LiveMigrationRouteConvergenceTime
    LocalSubnetL2Reachability LocalSubnetL2ReachabilityRefreshInterval LogActionRateLimit LogActionRateLimitBurst
    LogDebugFilenameRegex LogFilePath LogPrefix LogSeverityFile LogSeverityScreen LogSeveritySys MaxIpsetSize
    MetadataAddr MetadataPort MTUIfacePattern NATOutgoingAddress NATOutgoingExclusions NATPortRange
    NetlinkTimeoutSecs NftablesFilterAllowAction NftablesFilterDenyAction NFTablesFlowTableDataIfacePattern
    NFTablesFlowTableOffload NftablesMangleAllowAction NftablesMarkMask NFTablesMode NftablesRefreshInterval
    OpenstackRegion PolicySyncPathPrefix ProgramClusterRoutes PrometheusGoMetricsEnabled PrometheusMetricsCAFile
    PrometheusMetricsCertFile PrometheusMetricsClientAuth PrometheusMetricsEnabled PrometheusMetricsHost
    PrometheusMetricsKeyFile PrometheusMetricsPort PrometheusProcessMetricsEnabled
    PrometheusWireGuardMetricsEnabled RemoveExternalRoutes ReportingIntervalSecs ReportingTTLSecs RequireMTUFile
    RouteRefreshInterval RouteSource RouteSyncDisabled RouteTableRange RouteTableRanges ServiceLoopPrevention
    SidecarAccelerationEnabled UsageReportingEnabled UsageReportingInitialDelaySecs UsageReportingIntervalSecs
    UseInternalDataplaneDriver VXLANEnabled VXLANMTU VXLANMTUV6 VXLANPort VXLANVNI WindowsManageFirewallRules
    WireguardEnabled WireguardEnabledV6 WireguardHostEncryptionEnabled WireguardInterfaceName
    WireguardInterfaceNameV6 WireguardListeningPort WireguardListeningPortV6 WireguardMTU WireguardMTUV6
    WireguardPersistentKeepAlive WireguardRoutingRulePriority WireguardThreadingEnabled WorkloadSourceSpoofing
    XDPEnabled XDPRefreshInterval
    """.split()  # noqa: SIM905 - two hundred quoted names are no easier to read
)
"""From file, environment and FelixConfiguration."""

_FIELDS = {
    "iptablesPostWriteCheckInterval": "IptablesPostWriteCheckIntervalSecs",
    "iptablesLockProbeInterval": "IptablesLockProbeIntervalMillis",
    "netlinkTimeout": "NetlinkTimeoutSecs",
    "ipipEnabled": "IpInIpEnabled",
    "ipipMTU": "IpInIpMtu",
    "reportingInterval": "ReportingIntervalSecs",
    "reportingTTL": "ReportingTTLSecs",
    "endpointReportingDelay": "EndpointReportingDelaySecs",
    "usageReportingInitialDelay": "UsageReportingInitialDelaySecs",
    "usageReportingInterval": "UsageReportingIntervalSecs",
    "externalNodesList": "ExternalNodesCIDRList",
    "bpfConntrackMode": "BPFConntrackCleanupMode",
    "wireguardKeepAlive": "WireguardPersistentKeepAlive",
}
"""Fields of a FelixConfiguration that are not the parameter's name in lower camel case."""

_BY_LOWER = {name.lower(): name for name in LOCAL | SHARED}


def parameter(name: str) -> str | None:
    """The parameter that is meant, in upstream's spelling; None if there is none of that name in any case."""
    return _BY_LOWER.get(name.lower())


def nearest(name: str) -> str | None:
    """The parameter that somebody who writes an unknown name may mean."""
    close = get_close_matches(name.lower(), _BY_LOWER, n=1, cutoff=0.8)
    return _BY_LOWER[close[0]] if close else None


def parameter_of_field(field: str) -> str | None:
    """The parameter of a FelixConfiguration's field."""
    return _FIELDS.get(field) or parameter(field)
