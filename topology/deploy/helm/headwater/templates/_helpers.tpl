{{- define "headwater.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "headwater.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "headwater.name" . }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "headwater.selectorLabels" -}}
app.kubernetes.io/name: {{ include "headwater.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "headwater.labels" -}}
{{ include "headwater.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "headwater.serviceAccountName" -}}
{{- ternary (default (include "headwater.fullname" .) .Values.serviceAccount.name) (default "default" .Values.serviceAccount.name) .Values.serviceAccount.create }}
{{- end }}

{{- /* eventLog.sessionTimeoutMs is HEADWATER_EVENT_LOG_SESSION_TIMEOUT_MS */ -}}
{{- define "headwater.environmentName" -}}
HEADWATER_{{ regexReplaceAll "([a-z])([A-Z])" . "${1}_${2}" | replace "." "_" | upper }}
{{- end }}

{{- /* A setting as text: numbers of a values file are floating point, which print as 6.7e+07. */ -}}
{{- define "headwater.settingText" -}}
{{- if kindIs "slice" . }}{{ join "," . }}{{ else if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- /* Settings as lines of `NAME: "text"`. */ -}}
{{- define "headwater.settingsMap" -}}
{{- $lines := list }}
{{- range $key, $value := . }}
{{- $leaves := dict $key $value }}
{{- if kindIs "map" $value }}
{{- $leaves = dict }}
{{- range $inner, $leaf := $value }}{{ $_ := set $leaves (printf "%s.%s" $key $inner) $leaf }}{{ end }}
{{- end }}
{{- range $name, $leaf := $leaves }}
{{- $lines = append $lines (printf "%s: %s" (include "headwater.environmentName" $name) (include "headwater.settingText" $leaf | quote)) }}
{{- end }}
{{- end }}
{{- join "\n" $lines }}
{{- end }}

{{- /* The variables of a container: takes settings, and secrets by setting; empty when there are none. */ -}}
{{- define "headwater.env" -}}
{{- $env := list }}
{{- range $name, $value := include "headwater.settingsMap" .settings | fromYaml }}
{{- $env = append $env (dict "name" $name "value" $value) }}
{{- end }}
{{- range $key, $from := .secrets }}
{{- $reference := dict "name" $from.name "key" $from.key }}
{{- $env = append $env (dict "name" (include "headwater.environmentName" $key) "valueFrom" (dict "secretKeyRef" $reference)) }}
{{- end }}
{{- if $env }}{{ toYaml $env }}{{ end }}
{{- end }}

{{- define "headwater.image" -}}
{{- $image := .root.Values.image }}
{{- printf "%s:%s" $image.repository (coalesce .tag $image.tag .root.Chart.AppVersion) | quote }}
{{- end }}

{{- define "headwater.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: data
  mountPath: {{ .Values.settings.dataDirectory }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "headwater.volumes" -}}
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
- name: data
  emptyDir: { sizeLimit: 64Mi }
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What every pod has: takes root, component and values of the component. */ -}}
{{- define "headwater.podSpec" -}}
{{- $root := .root -}}
# Variables such as HEADWATER_SCORER_PORT, which Kubernetes makes of Services, would be refused as unknown settings.
enableServiceLinks: false
automountServiceAccountToken: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
volumes:
  {{- include "headwater.volumes" $root | nindent 2 }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "headwater.topologySpread" -}}
topologySpreadConstraints:
{{- range $topologyKey := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: {{ $.root.Values.topologySpread.maxSkew }}
    topologyKey: {{ $topologyKey }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "headwater.selectorLabels" (dict "root" $.root "component" $.component) | nindent 8 }}
{{- end }}
{{- end }}

{{- /* The three processes that read the log, as a list of component, key of its values, and its fixed consumer group. */ -}}
{{- define "headwater.workers" -}}
- { component: feature-worker, key: featureWorker, group: '' }
- { component: offline-writer, key: offlineWriter, group: history }
- { component: drift-monitor, key: driftMonitor, group: drift }
{{- end }}
