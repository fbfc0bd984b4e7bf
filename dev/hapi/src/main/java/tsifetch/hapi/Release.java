package tsifetch.hapi;

import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.r5.JpaR5Config;
import ca.uhn.fhir.jpa.topic.SubscriptionTopicConfig;
import org.springframework.context.annotation.ImportSelector;
import org.springframework.core.type.AnnotationMetadata;

/** Brings in HAPI's configuration of the FHIR release that the system property {@code tsi.release} names. */
public class Release implements ImportSelector {
  @Override
  public String[] selectImports(AnnotationMetadata importing) {
    String release = System.getProperty("tsi.release", "R5");
    if (release.equals("R5")) {
      return new String[] {JpaR5Config.class.getName(), SubscriptionTopicConfig.class.getName()};
    }
    if (release.equals("R4")) {
      return new String[] {JpaR4Config.class.getName()};
    }
    throw new IllegalArgumentException("tsi.release is R5 or R4, not " + release);
  }
}
